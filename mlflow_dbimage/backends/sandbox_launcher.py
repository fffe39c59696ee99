"""Starts one program with limits and, where it is asked to, in namespaces of its own; a script of `sandbox`.

Arguments: a plan, and the command. The plan is a dictionary as `marshal` writes it, in hexadecimal: `limits` (by
name of the `resource` module), `mode`, and for the mode `namespaces` what the program may see: `binds` ([path on
this machine, path inside, whether it may be written to]), `links` ([what it says, path inside]). Modes:

- `exec`: the command confines itself, as bubblewrap does.
- `namespaces`: own users, mounts, processes, network; what is not bound is not there, and no privilege is left.
- `supervise`: none of that; when the program ends, so do all that it started.

Ends with the program's exit code, 128 and the signal if one ended it, or 125 if it could not be started.
Modules are imported where they are needed: starting this is the cost of a sandbox.
"""

from __future__ import annotations

import marshal
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

# linux/sched.h
_NEW_MOUNTS, _NEW_USERS, _NEW_PROCESSES = 0x00020000, 0x10000000, 0x20000000
_NEW_NETWORK, _NEW_IPC, _NEW_NAMES = 0x40000000, 0x08000000, 0x04000000
# linux/mount.h
_NOSUID, _NODEV, _NOEXEC, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
_ATTRIBUTES_CALL, _AT_CWD, _AT_RECURSIVE = 442, -100, 0x8000  # the number is that of every architecture
_READ_ONLY = 1
_DETACH = 2
# linux/prctl.h
_DEATH_SIGNAL, _DROP_FROM_BOUNDS, _SUBREAPER, _NO_NEW_PRIVILEGES = 1, 24, 36, 38
# linux/if.h, linux/sockios.h
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1

_CANNOT_START = 125
_SIGKILL, _SIGTERM = 9, 15


class _Libc:
    """The calls that Python has no words for; each raises OSError."""

    def __init__(self) -> None:
        import ctypes

        self.ulong, self._errno = ctypes.c_ulong, ctypes.get_errno
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __call__(self, name: str, *arguments: Any) -> int:
        encoded = [os.fsencode(each) if isinstance(each, str) else each for each in arguments]
        result = int(getattr(self._libc, name)(*encoded))
        if result < 0:
            number = self._errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")
        return result

    def mount(self, source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        self("mount", source, target, kind, self.ulong(flags), data)

    def protect(self, target: str, attributes: int, *, recursive: bool) -> None:
        """Add attributes to a mount, and to those below it."""
        packed = attributes.to_bytes(8, sys.byteorder) + bytes(24)
        flags = _AT_RECURSIVE if recursive else 0
        self("syscall", self.ulong(_ATTRIBUTES_CALL), _AT_CWD, target, flags, packed, self.ulong(len(packed)))


def main(arguments: Sequence[str]) -> int:
    """Start the command as the plan says, and return how it ended."""
    plan = marshal.loads(bytes.fromhex(arguments[0]))  # noqa: S302
    command = list(arguments[1:])
    try:
        for name, value in plan["limits"].items():
            _limit(getattr(resource, name), value)
        if plan["mode"] == "exec":
            _replace_by(command)
        libc = _Libc() if sys.platform == "linux" else None
        if plan["mode"] == "namespaces" and libc is not None:
            return _in_namespaces(libc, plan, command)
        return _supervised(libc, command)
    except OSError as error:
        sys.stderr.write(f"the sandbox cannot be made: {error}\n")
        return _CANNOT_START


def _replace_by(command: list[str]) -> NoReturn:
    os.execv(command[0], command)  # noqa: S606


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (least, least))


def _supervised(libc: _Libc | None, command: list[str]) -> int:
    if libc is not None:
        libc("prctl", _SUBREAPER, 1, 0, 0, 0)
        libc("prctl", _DEATH_SIGNAL, _SIGTERM, 0, 0, 0)
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    child = _forked(lambda: _replace_by(command))
    try:
        return _ended(child)
    finally:
        _end_descendants()


def _end_descendants() -> None:
    """End what the program left: as subreaper, this process is the parent of all that lost theirs."""
    try:
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children") as stream:
                for child in stream.read().split():
                    os.kill(int(child), _SIGKILL)
            os.waitpid(-1, 0)
    except (ChildProcessError, FileNotFoundError):
        return


def _in_namespaces(libc: _Libc, plan: dict[str, Any], command: list[str]) -> int:
    libc("prctl", _DEATH_SIGNAL, _SIGKILL, 0, 0, 0)
    user, group, folder = os.geteuid(), os.getegid(), os.getcwd()
    libc("unshare", _NEW_USERS | _NEW_MOUNTS | _NEW_PROCESSES | _NEW_IPC | _NEW_NAMES | _NEW_NETWORK)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    _raise_loopback()
    return _ended(_forked(lambda: _be_first(libc, plan, folder, command)))


def _be_first(libc: _Libc, plan: dict[str, Any], folder: str, command: list[str]) -> None:
    """Be the first process of the namespace: when it ends, the kernel ends all others."""
    libc("prctl", _DEATH_SIGNAL, _SIGKILL, 0, 0, 0)
    _build_root(libc, plan)
    os.chdir(folder)
    os._exit(_ended(_forked(lambda: _become(libc, command))))


def _become(libc: _Libc, command: list[str]) -> None:
    for capability in range(64):
        try:
            libc("prctl", _DROP_FROM_BOUNDS, capability, 0, 0, 0)
        except OSError:
            break  # the kernel has no more
    libc("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    os.setsid()
    _replace_by(command)


def _build_root(libc: _Libc, plan: dict[str, Any]) -> None:
    """Make a root of what may be seen, and leave the old one; the two steps are those of bubblewrap."""
    libc.mount("none", "/", None, _RECURSIVE | _PRIVATE)
    libc.mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")  # noqa: S108
    for name in ("old", "new"):
        os.mkdir(f"/tmp/{name}")  # noqa: S108
    libc("pivot_root", "/tmp", "/tmp/old")  # noqa: S108
    os.chdir("/")
    libc.mount("tmpfs", "/new", "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for source, target, writable in plan["binds"]:
        _bind(libc, f"/old{source}", f"/new{target}", writable)
    for text, target in plan["links"]:
        os.makedirs(os.path.dirname(f"/new{target}"), exist_ok=True)
        os.symlink(text, f"/new{target}")
    os.makedirs("/new/proc", exist_ok=True)
    libc.mount("proc", "/new/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    libc("umount2", "/old", _DETACH)
    os.chdir("/new")
    libc("pivot_root", ".", ".")
    libc("umount2", ".", _DETACH)
    os.chdir("/")
    libc.protect("/", _READ_ONLY, recursive=False)


def _bind(libc: _Libc, source: str, target: str, writable: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    libc.mount(source, target, None, _BIND | _RECURSIVE)
    libc.protect(target, _NOSUID if writable else _NOSUID | _READ_ONLY, recursive=True)


def _raise_loopback() -> None:
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        request = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(anything, _GET_FLAGS, request))
        fcntl.ioctl(anything, _SET_FLAGS, struct.pack("16sh14x", name, flags | _UP))


def _forked(action: Callable[[], Any]) -> int:
    """Do something in a child that never returns; return the child's ID."""
    child = os.fork()
    if child:
        return child
    try:
        action()
    except OSError as error:
        os.write(2, f"the sandbox cannot be made: {error}\n".encode())
    finally:
        os._exit(_CANNOT_START)


def _ended(child: int) -> int:
    """Wait for a child, reaping whatever else ends, and return its exit code as shells do."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
