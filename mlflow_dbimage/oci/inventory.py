"""What a base image holds, as far as layers on top of it must know: directories, programs, glibc and its system.

The layers are read once, oldest first, as streams: nothing is unpacked. Their whiteouts are honoured.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layer_members import Both, Visitor, visit
from mlflow_dbimage.oci.programs import Programs
from mlflow_dbimage.oci.system_packages import MOST_STATUS, STATUS, SystemPackage, read_status
from mlflow_dbimage.oci.tar import Owner

_GLIBC = re.compile(rb"GNU C Library [^\n]*?version (\d+\.\d+)")
#: Where glibc may lie, and where a system says what it is, first the one that counts.
LIBC = re.compile(r"(?:usr/)?lib(?:64)?/(?:[^/]+/)?libc(?:\.so\.6|-\d+\.\d+\.so)")
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
# Where layers of ours may write; elsewhere only the top of the tree can matter to us.
_WATCHED = ("opt/", "databricks/")
_SHALLOW, _DEEP = 2, 5
_MOST_TEXT = 1 << 16
_MOST_LIBC = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What was found."""

    glibc: str | None
    """`2.36`; None where there is no glibc."""
    os_release: Mapping[str, str]
    directories: Mapping[str, Owner]
    """At the top two levels, and at five below `opt` and `databricks`."""
    programs: tuple[str, ...]
    """Files that may be run, sorted."""
    links: Mapping[str, str]
    """All symbolic links, and where they lead."""
    packages: tuple[SystemPackage, ...] = ()
    """Of the operating system, in the order of their names; only dpkg's are known."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "glibc": self.glibc,
            "os_release": dict(self.os_release),
            "directories": {path: list(owner) for path, owner in self.directories.items()},
            "programs": list(self.programs),
            "links": dict(self.links),
            "packages": [package.to_dict() for package in self.packages],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Inventory:
        """Read the JSON form."""
        return cls(
            glibc=data["glibc"],
            os_release=dict(data["os_release"]),
            directories={path: (owner[0], owner[1], owner[2]) for path, owner in data["directories"].items()},
            programs=tuple(data["programs"]),
            links=dict(data["links"]),
            packages=tuple(SystemPackage(**package) for package in data["packages"]),
        )


class _Seen:
    """What the layers so far show; `known` has all its paths and the folders above them."""

    def __init__(self) -> None:
        self.directories: dict[str, Owner] = {}
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
        """Drop a file that a directory replaces."""
        for table in (self.glibc, self.texts):
            table.pop(path, None)

    def put_on(self, lower: _Seen) -> None:
        for table, below in zip(self._tables(), lower._tables(), strict=True):
            for path, value in table.items():
                lower.put(below, path, value)

    def _tables(self) -> tuple[dict[str, Any], ...]:
        return self.directories, self.glibc, self.texts


def read_inventory(image: Image, beside: Callable[[Layer], Visitor] | None = None) -> Inventory:
    """Read all layers of an image; the diff ID of each is verified.

    Args:
        image: The image.
        beside: Gives who else is told of what a layer has, in the same reading.

    Raises:
        InputError: `base-invalid`, a layer is no tar archive, another one than the config says, or has paths
            that leave the root.
        VerificationError: `digest-mismatch`, from opening and reading a layer.
    """
    seen, programs = _Seen(), Programs()
    for layer in image.layers:
        own, shown = _Seen(), _Shown(programs)
        look = _Look(own, seen, shown)
        visit(layer, look if beside is None else Both(look, beside(layer)))
        own.put_on(seen)
        programs.lay(shown)
    text = next((seen.texts[path] for path in OS_RELEASE if path in seen.texts), "")
    return Inventory(
        glibc=max(seen.glibc.values(), key=_as_numbers, default=None),
        os_release=read_os_release(text),
        directories=seen.directories,
        programs=tuple(sorted(programs.programs)),
        links=programs.links,
        packages=read_status(seen.texts[path] for path in sorted(seen.texts) if STATUS.fullmatch(path)),
    )


class _Shown:
    """What a layer does to the programs below it (`oci.programs.ShownPrograms`)."""

    def __init__(self, below: Programs) -> None:
        self.programs: set[str] = set()
        self.links: dict[str, str] = {}
        self.hidden: set[str] = set()
        self._below = below

    def see(self, path: str, member: tarfile.TarInfo) -> None:
        if not member.isdir() or path in self._below.programs or path in self._below.links:
            self.hidden.add(path)
        self.programs.discard(path)
        self.links.pop(path, None)
        if member.issym():
            self.links[path] = member.linkname
        elif (member.isreg() or member.islnk()) and member.mode & 0o111:
            self.programs.add(path)


class _Look:
    """Puts what a layer shows into `seen`, and takes what it hides from the layers below."""

    def __init__(self, seen: _Seen, lower: _Seen, shown: _Shown) -> None:
        self._seen = seen
        self._lower = lower
        self._shown = shown

    def hide(self, path: str) -> None:
        self._lower.forget(path)
        self._shown.hidden.add(path)

    def hide_inside(self, folder: str) -> None:
        self._lower.forget_inside(folder)
        self._shown.hidden.add(f"{folder}/")

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        self._shown.see(path, member)
        if member.isdir():
            if path.count("/") < (_DEEP if path.startswith(_WATCHED) else _SHALLOW):
                self._seen.put(self._seen.directories, path, (member.mode & 0o7777, member.uid, member.gid))
            self._lower.forget_files(path)
        else:
            self._lower.forget(path)
            self._seen.forget(path)
            self._see_file(path, member, read)

    def _see_file(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        seen = self._seen
        if not member.isreg():
            return
        if _is_wanted(path, member.size):
            seen.put(seen.texts, path, read().decode(errors="replace"))
        elif LIBC.fullmatch(path) and member.size <= _MOST_LIBC:
            found = glibc_version(read())
            if found is not None:
                seen.put(seen.glibc, path, found)


def _is_wanted(path: str, size: int) -> bool:
    """Whether a file is a text that tells of the system."""
    if path in OS_RELEASE:
        return size <= _MOST_TEXT
    return STATUS.fullmatch(path) is not None and size <= MOST_STATUS


def glibc_version(library: bytes) -> str | None:
    """Read the version of glibc, such as `2.36`, from its library; None from another one."""
    found = _GLIBC.search(library)
    return None if found is None else found.group(1).decode()


def read_os_release(text: str) -> dict[str, str]:
    """Read the assignments of an `os-release` file."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
