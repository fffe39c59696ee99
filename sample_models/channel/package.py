"""Conda packages as values, and the one way to write them: `write`.

The format is version 2 (`.conda`): a zip file that holds two tar files, each in a zstd frame. The frames
hold raw blocks: they need no compressor, are written and read as fast as the disk allows, and are the same
bytes with every version of every library. Sources: conda CEP 16 and "The .conda format"; RFC 8878 for zstd.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

#: Part of every cache key: raise it when a package of the same inputs would come out differently.
FORMAT = 1

#: What stands for the installation's prefix in text files. Installers replace it.
PLACEHOLDER = "/opt/" + ("placehold_" * 25)[:250]

#: The day that packages claim to be of unless they say otherwise: before any sample model was logged, so
#: that models resolved as of their day find a Python.
EPOCH = datetime(2020, 1, 1, tzinfo=timezone.utc)

#: This machine's kind, as channels name it.
SUBDIR = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}.get(platform.machine(), "linux-64")

_ZSTD_HEAD = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x38"  # magic, no checksum and no size, window of 128 KiB
_ZSTD_BLOCK = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One file or symbolic link of a package."""

    path: str
    """Relative to the prefix."""
    content: bytes | Path = b""
    """The bytes, or the file that has them."""
    mode: int = 0o644
    link: str | None = None
    """The target, for a symbolic link."""
    has_prefix: bool = False
    """Whether the text holds `PLACEHOLDER`."""

    def read(self) -> bytes:
        """Read the whole content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A conda package that is not written yet."""

    name: str
    version: str
    files: tuple[PackageFile, ...]
    depends: tuple[str, ...] = ()
    noarch_python: bool = False
    """Whether `site-packages/` is to be put where the environment's Python looks."""
    entry_points: tuple[str, ...] = ()
    """Console scripts of a noarch package: `name = module:function`."""
    timestamp: datetime = field(default=EPOCH)
    summary: str = ""
    build: str | None = None
    """Its build string, where it has to be a certain one."""

    @property
    def subdir(self) -> str:
        """The folder of the channel that holds it."""
        return "noarch" if self.noarch_python else SUBDIR


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class RawZstd:
    """Writes a zstd frame of raw blocks: RFC 8878, 3.1.1.1 and 3.1.1.2."""

    def __init__(self, out: _Writable) -> None:
        self._out = out
        self._pending = bytearray()
        out.write(_ZSTD_HEAD)

    def write(self, data: bytes) -> int:
        """Take more of the content."""
        self._pending += data
        # One block is always kept back: the last one must say that it is the last.
        while len(self._pending) > _ZSTD_BLOCK:
            self._block(self._pending[:_ZSTD_BLOCK], last=False)
            del self._pending[:_ZSTD_BLOCK]
        return len(data)

    def close(self) -> None:
        """Write the last block."""
        self._block(self._pending, last=True)

    def _block(self, content: bytes | bytearray, *, last: bool) -> None:
        self._out.write((len(content) << 3 | last).to_bytes(3, "little"))
        self._out.write(bytes(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPackage:
    """A package in a channel."""

    path: str
    """`<subdir>/<file name>`."""
    record: Mapping[str, Any]
    """What the channel's `repodata.json` says of it."""


def write(package: Package, channel: Path) -> WrittenPackage:
    """Write a package into its folder of a channel; the same package gives the same bytes."""
    files = sorted(package.files, key=lambda file: file.path)
    paths = [_path_entry(file) for file in files]
    index = _index(package, package.build or f"h{_digest_of(package, paths)[:8]}_0")
    stem = f"{package.name}-{package.version}-{index['build']}"
    target = channel / package.subdir / f"{stem}.conda"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=channel, prefix=".making-", delete=False) as aside,
        zipfile.ZipFile(aside, "w") as archive,
    ):
        _member(archive, "metadata.json", package, [_json_file("", {"conda_pkg_format_version": 2})])
        _member(archive, f"info-{stem}.tar.zst", package, _info(package, index, paths))
        _member(archive, f"pkg-{stem}.tar.zst", package, files)
    made = Path(aside.name)
    digests = {name: _file_digest(made, name) for name in ("md5", "sha256")}
    record = index | digests | {"size": made.stat().st_size}
    made.chmod(0o644)
    made.replace(target)
    return WrittenPackage(path=target.relative_to(channel).as_posix(), record=record)


def write_repodata(channel: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the index of each folder of a channel, from the records of its packages by path.

    Not by rattler's indexer: it adds the time of indexing, which solvers prefer to the package's own when they
    resolve as of a day; then no model of the past would find a package here.
    """
    for subdir in (SUBDIR, "noarch"):
        inside = {path.removeprefix(f"{subdir}/"): records[path] for path in records if path.startswith(subdir)}
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": inside, "repodata_version": 1}
        target = channel / subdir / "repodata.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{target.name}.new")
        aside.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        aside.replace(target)


def _file_digest(path: Path, algorithm: str) -> str:
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def _member(archive: zipfile.ZipFile, name: str, package: Package, files: Iterable[PackageFile]) -> None:
    header = zipfile.ZipInfo(name, package.timestamp.timetuple()[:6])
    with archive.open(header, "w", force_zip64=True) as member:
        if not name.endswith(".zst"):
            member.write(b"".join(file.read() for file in files))
            return
        frame = RawZstd(member)
        with tarfile.open(fileobj=frame, mode="w|", bufsize=_ZSTD_BLOCK) as tar:  # type: ignore[call-overload]  # any object with `write` will do
            for file in files:
                _add(tar, file, package.timestamp)
        frame.close()


def _add(tar: tarfile.TarFile, file: PackageFile, time: datetime) -> None:
    info = tarfile.TarInfo(file.path)
    info.mtime = int(time.timestamp())
    info.mode = file.mode
    if file.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, file.link
        tar.addfile(info)
        return
    data = file.read()
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _path_entry(file: PackageFile) -> dict[str, Any]:
    if file.link is not None:
        return {"_path": file.path, "path_type": "softlink"}
    data = file.read()
    entry: dict[str, Any] = {
        "_path": file.path,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if file.has_prefix:
        entry |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return entry


def _digest_of(package: Package, paths: list[dict[str, Any]]) -> str:
    modes = sorted((file.path, file.mode, file.link) for file in package.files)
    identity = [FORMAT, package.depends, package.entry_points, package.timestamp.isoformat(), modes, paths]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _index(package: Package, build: str) -> dict[str, Any]:
    index: dict[str, Any] = {
        "name": package.name,
        "version": package.version,
        "build": build,
        "build_number": _build_number(build),
        "depends": list(package.depends),
        "subdir": package.subdir,
        "timestamp": int(package.timestamp.timestamp() * 1000),
    }
    if package.noarch_python:
        return index | {"noarch": "python"}
    return index | {"arch": platform.machine(), "platform": "linux"}


def _build_number(build: str) -> int:
    digits = build.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0


def _info(package: Package, index: dict[str, Any], paths: list[dict[str, Any]]) -> list[PackageFile]:
    files = [
        _json_file("info/about.json", {"summary": package.summary}),
        _json_file("info/index.json", index),
        _json_file("info/paths.json", {"paths": paths, "paths_version": 1}),
        PackageFile(path="info/files", content="".join(f"{p['_path']}\n" for p in paths).encode()),
    ]
    if package.noarch_python:
        noarch = {"type": "python", "entry_points": list(package.entry_points)}
        files.append(_json_file("info/link.json", {"noarch": noarch, "package_metadata_version": 1}))
    return sorted(files, key=lambda file: file.path)


def _json_file(path: str, value: Mapping[str, Any]) -> PackageFile:
    return PackageFile(path=path, content=json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")
