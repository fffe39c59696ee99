"""What a base image holds, as far as layers on top of it must know: directories, links, glibc and its system.

The layers are read once, oldest first, as streams: nothing is unpacked. Their whiteouts are honoured.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import damage_of, open_decompressed
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.tar import Owner
from mlflow_dbimage.oci.verified import DigestingStream

_GLIBC = re.compile(rb"GNU C Library [^\n]*?version (\d+\.\d+)")
_LIBC = re.compile(r"(?:usr/)?lib(?:64)?/(?:[^/]+/)?libc(?:\.so\.6|-\d+\.\d+\.so)")
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
# Where layers of ours may write; elsewhere only the top of the tree can matter to us.
_WATCHED = ("opt/", "databricks/")
_SHALLOW, _DEEP = 2, 4
_OPAQUE = ".wh..wh..opq"
_WHITEOUT = ".wh."
_MOST_TEXT = 1 << 16
_MOST_LIBC = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What was found."""

    glibc: str | None
    """`2.36`; None where there is no glibc."""
    os_release: Mapping[str, str]
    directories: Mapping[str, Owner]
    """At the top two levels, and at four below `opt` and `databricks`."""
    symlinks: Mapping[str, str]
    """At the top level."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "glibc": self.glibc,
            "os_release": dict(self.os_release),
            "directories": {path: list(owner) for path, owner in self.directories.items()},
            "symlinks": dict(self.symlinks),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Inventory:
        """Read the JSON form."""
        return cls(
            glibc=data["glibc"],
            os_release=dict(data["os_release"]),
            directories={path: (owner[0], owner[1], owner[2]) for path, owner in data["directories"].items()},
            symlinks=dict(data["symlinks"]),
        )


class _Seen:
    """What the layers so far show; `known` has all its paths and the folders above them."""

    def __init__(self) -> None:
        self.directories: dict[str, Owner] = {}
        self.symlinks: dict[str, str] = {}
        self.glibc: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self._known: set[str] = set()

    def put(self, table: dict[str, Any], path: str, value: object) -> None:
        table[path] = value
        while path not in self._known:
            self._known.add(path)
            path = path.rpartition("/")[0]

    def forget(self, path: str) -> None:
        """Drop a path and what lies below it."""
        if path in self._known:
            self.forget_inside(path)
            for table in self._tables():
                table.pop(path, None)

    def forget_inside(self, folder: str) -> None:
        """Drop what lies below a path; all for the empty one."""
        start = f"{folder}/" if folder else ""
        for table in self._tables():
            for known in [known for known in table if known.startswith(start)]:
                del table[known]

    def forget_files(self, path: str) -> None:
        """Drop a file or link that a directory replaces."""
        for table in (self.symlinks, self.glibc, self.texts):
            table.pop(path, None)

    def put_on(self, lower: _Seen) -> None:
        for table, below in zip(self._tables(), lower._tables(), strict=True):
            for path, value in table.items():
                lower.put(below, path, value)

    def _tables(self) -> tuple[dict[str, Any], ...]:
        return self.directories, self.symlinks, self.glibc, self.texts


def read_inventory(image: Image) -> Inventory:
    """Read all layers of an image; the diff ID of each is verified.

    Raises:
        InputError: `base-invalid`, a layer is no tar archive, another one than the config says, or has paths
            that leave the root.
        VerificationError: `digest-mismatch`, from opening and reading a layer.
    """
    seen = _Seen()
    for layer in image.layers:
        _read_layer(layer, seen)
    text = next((seen.texts[path] for path in _OS_RELEASE if path in seen.texts), "")
    return Inventory(
        glibc=max(seen.glibc.values(), key=_as_numbers, default=None),
        os_release=_parsed(text),
        directories=seen.directories,
        symlinks=seen.symlinks,
    )


def _read_layer(layer: Layer, lower: _Seen) -> None:
    # Whiteouts speak of the layers below alone, wherever they stand among their siblings.
    what = f"the layer {layer.descriptor.digest} of the base image"
    seen = _Seen()
    with damage_of(what), layer.open() as blob:
        plain = DigestingStream(open_decompressed(blob, layer.descriptor.media_type))
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                _look_at(archive, member, seen, lower)
                archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header of a layer
        plain.drain()
    if plain.digest != layer.diff_id:
        raise InputError("base-invalid", f"{what} has the diff ID {plain.digest}, not {layer.diff_id}")
    seen.put_on(lower)


def _look_at(archive: tarfile.TarFile, member: tarfile.TarInfo, seen: _Seen, lower: _Seen) -> None:
    path = _safe(member.name)
    folder, slash, name = path.rpartition("/")
    if path == "":
        return
    if name == _OPAQUE:
        lower.forget_inside(folder)
    elif name.startswith(_WHITEOUT):
        lower.forget(f"{folder}{slash}{name[len(_WHITEOUT) :]}")
    elif member.isdir():
        if path.count("/") < (_DEEP if path.startswith(_WATCHED) else _SHALLOW):
            seen.put(seen.directories, path, (member.mode & 0o7777, member.uid, member.gid))
        lower.forget_files(path)
    else:
        lower.forget(path)
        seen.forget(path)
        _look_at_file(archive, member, path, seen)


def _look_at_file(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, seen: _Seen) -> None:
    if member.issym() and "/" not in path:
        seen.put(seen.symlinks, path, member.linkname)
    if not member.isreg():
        return
    if path in _OS_RELEASE and member.size <= _MOST_TEXT:
        seen.put(seen.texts, path, _content(archive, member).decode(errors="replace"))
    elif _LIBC.fullmatch(path) and member.size <= _MOST_LIBC:
        found = _GLIBC.search(_content(archive, member))
        if found is not None:
            seen.put(seen.glibc, path, found.group(1).decode())


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None, "it is a file"
    return stream.read()


def _safe(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise InputError("base-invalid", f"a layer of the base image has the path `{name}`, outside its root")
    return "/".join(parts)


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _parsed(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}
