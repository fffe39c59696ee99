"""What a program in a sandbox sees: the system's programs, what it is given, and one folder to write to.

Home folders, other folders, sockets of services, devices and other processes are not there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

# Programs and libraries, and what the C library, OpenMP and BLAS look up; nothing here is secret on any system.
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/etc/timezone",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
)
_DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
_DEVICE_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}
#: What programs take for granted that they can write to, wherever `TMPDIR` points.
_SCRATCH_PLACES = {"/dev/shm": "shm", "/tmp": "tmp", "/var/tmp": "tmp"}  # noqa: S108


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of this machine, and where it is seen."""

    source: str
    target: str
    writable: bool = False
    device: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is seen."""

    binds: tuple[Bind, ...]
    """Folders before what lies in them; where one holds another, a folder of the first is made to be covered."""
    links: tuple[tuple[str, str], ...]
    """What a symbolic link says, and where it is."""

    @classmethod
    def of(
        cls,
        readable: Sequence[Path],
        scratch: Path,
        placed: Mapping[str, Path] = MappingProxyType({}),
    ) -> View:
        """Put together what may be seen.

        Args:
            readable: Folders and files to read; those that do not exist are passed over.
            scratch: A folder to write to, which also stands for the folders of temporary files.
            placed: Folders to read that are seen elsewhere, by where.
        """
        system = [Path(each) for each in _SYSTEM if os.path.lexists(each)]
        links = [(os.readlink(each), str(each)) for each in system if each.is_symlink()]
        binds = [Bind(str(each), str(each)) for each in system if not each.is_symlink()]
        binds += [Bind(each, each, True, True) for each in _DEVICES if os.path.exists(each)]
        binds += [_bind(each, writable=False) for each in readable if each.exists()]
        binds += [Bind(os.path.realpath(source), target) for target, source in placed.items()]
        binds.append(_bind(scratch, writable=True))
        for place, name in _SCRATCH_PLACES.items():
            (scratch / name).mkdir(exist_ok=True)
            binds.append(Bind(os.path.realpath(scratch / name), place, True))
        return cls(
            binds=tuple(sorted(binds, key=lambda bind: bind.target)),
            links=(*links, *((text, target) for target, text in _DEVICE_LINKS.items())),
        )

    def bubblewrap_arguments(self) -> list[str]:
        """Say the same to bubblewrap."""
        arguments: list[str] = []
        for bind in self.binds:
            option = "--dev-bind" if bind.device else "--bind" if bind.writable else "--ro-bind"
            arguments += [option, bind.source, bind.target]
        for text, target in self.links:
            arguments += ["--symlink", text, target]
        return [*arguments, "--proc", "/proc", "--remount-ro", "/"]


def _bind(path: Path, *, writable: bool) -> Bind:
    """Show a path where it is called, whatever links lead there."""
    return Bind(os.path.realpath(path), os.path.abspath(path), writable)
