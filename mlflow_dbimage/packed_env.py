"""The packed environment: every file of an installed environment, as it will be in the image, by distribution.

Nothing is copied here. Each file is a tar entry whose content is opened, and where its package asks for it
rewritten to its prefix in the image, when a layer is written.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.image import canonical_json
from mlflow_dbimage.oci.tar import TarEntry, file_entry

#: Where an environment is in the image unless it is the root environment of conda: the prefix its files name.
IMAGE_PREFIX = "/opt/dbimage/env"

_PREFIX = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}")
#: conda-pack replaces the prefix that packages were made with, which is as long as this.
LONGEST_PREFIX = 200

# What of a conda-meta record is the same wherever and whenever the package is installed. Left out: cache and
# link paths, times of installation, requested specs, URLs of mirrors.
_META_KEYS = (
    "arch",
    "build",
    "build_number",
    "constrains",
    "depends",
    "features",
    "files",
    "license",
    "license_family",
    "md5",
    "name",
    "noarch",
    "platform",
    "python_site_packages_path",
    "sha256",
    "size",
    "subdir",
    "timestamp",
    "track_features",
    "version",
)
_META_PATH_KEYS = ("_path", "path_type", "sha256", "size_in_bytes", "prefix_placeholder", "file_mode", "no_link")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedDistribution:
    """The files of one distribution: a conda package or a wheel."""

    name: str
    version: str
    manager: str
    """`conda`, `pip`, or `none` for what no distribution owns."""
    entries: tuple[TarEntry, ...]
    """Paths are relative to the image's root; no directories."""

    @property
    def size(self) -> int:
        """Bytes of all files, uncompressed."""
        return sum(entry.size for entry in self.entries)

    @property
    def title(self) -> str:
        """Name and version, as people write them."""
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedEnv:
    """An environment ready to be laid out."""

    prefix: str
    """Where it is in the image: the absolute path that its files name."""
    distributions: tuple[PackedDistribution, ...]
    """In the order of their names."""

    @property
    def size(self) -> int:
        """Bytes of all files, uncompressed."""
        return sum(distribution.size for distribution in self.distributions)

    def relative(self, entry: TarEntry) -> str:
        """Return the path of one of its entries, relative to the prefix."""
        return entry.path[len(self.prefix) :]  # a path lacks the prefix's first slash, and has one behind it


class Packer(Protocol):
    """Finds the files of an installed environment and rewrites their prefixes."""

    def entries(self, prefix: Path, image_prefix: str, *, verbatim: frozenset[str]) -> Iterable[TarEntry]:
        """Return every file below `prefix`, with paths relative to it; content is read when opened.

        Files in `verbatim` cannot hold a prefix and need not be searched for one.
        """


class RecordedFiles:
    """The `Packer` of what wheels alone bring: they hold no prefix, and other files are not of the environment."""

    def entries(self, prefix: Path, image_prefix: str, *, verbatim: frozenset[str]) -> Iterator[TarEntry]:
        """Yield the files that installed wheels recorded."""
        for path in sorted(verbatim):
            mode = 0o755 if (prefix / path).stat().st_mode & 0o111 else 0o644
            yield file_entry(path, prefix / path, mode)


class BytecodeCompiler(Protocol):
    """Compiles modules with the environment's own Python."""

    def compile(self, prefix: Path, image_prefix: str, sources: Iterable[str]) -> Mapping[str, Path]:
        """Compile sources (paths relative to `prefix`); byte code names its source below `image_prefix`.

        Returns where the byte code is, by its path relative to `prefix`. A source that does not compile is left
        out.
        """


def is_prefix(text: object) -> bool:
    """Whether an environment can be at a path in the image, by its form."""
    return isinstance(text, str) and len(text) <= LONGEST_PREFIX and _PREFIX.fullmatch(text) is not None


def pack(prefix: Path, packer: Packer, image_prefix: str, *, channel_urls: Mapping[str, str]) -> PackedEnv:
    """List the files of an installed environment by the distribution that owns them.

    Args:
        prefix: Where the environment is installed.
        image_prefix: Where it is in the image.
        packer: Finds the files and rewrites prefixes.
        channel_urls: By conda package name, the URL to record; a mirror's would change the image.

    Raises:
        VerificationError: `image-invalid`, two distributions own one file.
    """
    owners = _owners(prefix)
    verbatim = frozenset(path for path, owner in owners.items() if owner[2] == "pip")
    grouped: dict[tuple[str, str, str], list[TarEntry]] = {}
    for entry in packer.entries(prefix, image_prefix, verbatim=verbatim):
        owner = owners.get(entry.path, ("", "", "none"))
        grouped.setdefault(owner, []).append(_in_image(entry, prefix, image_prefix, channel_urls))
    return PackedEnv(
        prefix=image_prefix,
        distributions=tuple(
            PackedDistribution(
                name=name,
                version=version,
                manager=manager,
                entries=tuple(sorted(entries, key=lambda entry: entry.path)),
            )
            for (name, version, manager), entries in sorted(grouped.items())
        ),
    )


def with_bytecode(env: PackedEnv, prefix: Path, modules: frozenset[str], compiler: BytecodeCompiler) -> PackedEnv:
    """Return the environment with byte code for `modules` (source paths relative to the prefix).

    Byte code goes with the distribution that has the source, so that a layer never depends on another.
    """
    wanted = [
        sorted(path for path in map(env.relative, each.entries) if path in modules) for each in env.distributions
    ]
    compiled = compiler.compile(prefix, env.prefix, [source for group in wanted for source in group])
    by_source: dict[str, list[TarEntry]] = {}
    for target, path in compiled.items():
        entry = file_entry(f"{env.prefix[1:]}/{target}", path, 0o644)
        by_source.setdefault(_source_of(target), []).append(entry)
    return replace(
        env,
        distributions=tuple(
            replace(
                each,
                entries=tuple(
                    sorted(
                        (*each.entries, *(code for source in group for code in by_source.get(source, ()))),
                        key=lambda entry: entry.path,
                    )
                ),
            )
            for each, group in zip(env.distributions, wanted, strict=True)
        ),
    )


def all_modules(env: PackedEnv) -> frozenset[str]:
    """Return every Python source of the environment, relative to its prefix."""
    return frozenset(
        env.relative(entry)
        for distribution in env.distributions
        for entry in distribution.entries
        if entry.path.endswith(".py") and "/lib/python" in entry.path
    )


def _source_of(bytecode: str) -> str:
    folder, _, name = bytecode.rpartition("/__pycache__/")
    return f"{folder}/{name.split('.', 1)[0]}.py"


def _in_image(entry: TarEntry, prefix: Path, image_prefix: str, channel_urls: Mapping[str, str]) -> TarEntry:
    path = f"{image_prefix[1:]}/{entry.path}"
    if entry.path.startswith("conda-meta/") and entry.path.endswith(".json"):
        record = json.loads((prefix / entry.path).read_bytes())
        return file_entry(path, _normal_meta(record, channel_urls), 0o644)
    if entry.path == "conda-meta/history":
        return file_entry(path, b"", 0o644)  # conda wants the file; its content is times and commands
    return replace(entry, path=path)


def _normal_meta(record: Mapping[str, Any], channel_urls: Mapping[str, str]) -> bytes:
    meta = {key: record[key] for key in _META_KEYS if record.get(key) is not None}
    meta["files"] = sorted(meta.get("files", ()))
    paths = (record.get("paths_data") or {}).get("paths") or ()
    meta["paths_data"] = {
        "paths_version": 1,
        "paths": [
            {key: path[key] for key in _META_PATH_KEYS if path.get(key) is not None}
            for path in sorted(paths, key=lambda path: str(path["_path"]))
        ],
    }
    url = channel_urls.get(record["name"])
    if url is not None:
        meta["url"], meta["fn"] = url, url.rsplit("/", 1)[-1]
        meta["channel"] = url.rsplit("/", 1)[0]
    return canonical_json(meta) + b"\n"


def _owners(prefix: Path) -> dict[str, tuple[str, str, str]]:
    owners: dict[str, tuple[str, str, str]] = {}
    conflicts: list[str] = []
    for owner, paths in (*_conda_files(prefix), *_wheel_files(prefix)):
        taken = [path for path in paths if owners.setdefault(path, owner) != owner]
        conflicts += [f"`{path}` is of {owners[path][0]} and of {owner[0]}" for path in taken]
    if conflicts:
        raise VerificationError(
            "image-invalid", "files of the environment have two owners:\n  " + "\n  ".join(conflicts[:10])
        )
    return owners


def _conda_files(prefix: Path) -> Iterable[tuple[tuple[str, str, str], Sequence[str]]]:
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = json.loads(path.read_bytes())
        owner = (record["name"], record["version"], "conda")
        yield owner, (*record["files"], f"conda-meta/{path.name}")


def _wheel_files(prefix: Path) -> Iterable[tuple[tuple[str, str, str], Sequence[str]]]:
    """Yield what installed wheels list in their RECORD; conda's own distributions have conda's installer."""
    for info in sorted(prefix.glob("lib/python3*/site-packages/*.dist-info")):
        installer = info / "INSTALLER"
        if not (info / "RECORD").is_file() or not installer.is_file():
            continue
        if installer.read_text().strip() != "dbimage":
            continue
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        site = info.parent.relative_to(prefix).as_posix()
        with (info / "RECORD").open(newline="", encoding="utf-8") as stream:
            paths = [_normal_path(f"{site}/{row[0]}") for row in csv.reader(stream) if row]
        yield (name, version, "pip"), paths


def _normal_path(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
