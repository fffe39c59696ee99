"""What a model tries that an image does not allow: to reach other machines, and to write into its own folder.

Both are refused as a container without network and with a read-only root refuses them, so that a model behaves
the same wherever it is checked; and both are noted, since a model may go on without. Watched are calls of Python's
own functions (its audit events, PEP 578), which come with Python 3.8; before, nothing is refused or noted here.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

_MOST = 20
_LOOPBACK = ("localhost", "::1", "0.0.0.0", "")  # noqa: S104  # nothing is bound
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Attempts:
    """Refuses and notes attempts from `watch` on, until the process ends.

    Args:
        folder: Into which nothing may write.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.realpath(folder)
        self._hosts: Dict[str, None] = {}
        self._files: Dict[str, None] = {}
        self._events: Dict[str, Callable[[Tuple[Any, ...]], None]] = {
            "socket.connect": lambda arguments: self._reach(arguments[1]),
            "socket.sendto": lambda arguments: self._reach(arguments[1]),
            "socket.getaddrinfo": lambda arguments: self._resolve(arguments[0]),
            "socket.gethostbyname": lambda arguments: self._resolve(arguments[0]),
            "open": lambda arguments: self._open(arguments[0], arguments[2]),
            "os.rename": lambda arguments: self._write(*arguments[:2]),
            "os.link": lambda arguments: self._write(arguments[1]),
            "os.symlink": lambda arguments: self._write(arguments[1]),
        }
        for event in ("os.mkdir", "os.rmdir", "os.remove", "os.truncate"):
            self._events[event] = lambda arguments: self._write(arguments[0])

    def watch(self) -> bool:
        """Begin, for good: what watches cannot be taken away again. Return whether this Python can."""
        add: Optional[Callable[[Callable[[str, Tuple[Any, ...]], None]], None]]
        add = getattr(sys, "addaudithook", None)
        if add is None:
            return False
        add(self._heard)
        return True

    @property
    def network(self) -> List[str]:
        """Other machines that were to be reached, by name or address."""
        return list(self._hosts)

    @property
    def writes(self) -> List[str]:
        """Files that were to be written, relative to the folder."""
        return list(self._files)

    def _heard(self, event: str, arguments: Tuple[Any, ...]) -> None:
        handler = self._events.get(event)
        if handler is not None:
            handler(arguments)

    def _reach(self, address: Any) -> None:
        if isinstance(address, tuple) and not _is_here(address[0]):
            _note(self._hosts, str(address[0]))
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    def _resolve(self, host: Any) -> None:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if not _is_here(name) and not _is_number(name):
            _note(self._hosts, str(name))
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution: %s" % name)

    def _open(self, path: Any, flags: Any) -> None:
        if isinstance(path, (str, bytes)) and isinstance(flags, int) and flags & _WRITING:
            self._write(path)

    def _write(self, *paths: Any) -> None:
        for path in paths:
            if not isinstance(path, (str, bytes, os.PathLike)):
                continue
            whole = os.path.realpath(os.fsdecode(path))
            if whole == self._folder or whole.startswith(self._folder + os.sep):
                _note(self._files, os.path.relpath(whole, self._folder))
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), whole)


def _note(where: Dict[str, None], text: str) -> None:
    if len(where) < _MOST:
        where[text] = None


def _is_number(host: str) -> bool:
    """Whether it is an address already, of which nobody has to be asked."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_here(host: Any) -> bool:
    if not isinstance(host, str) or host in _LOOPBACK or host.startswith("127."):
        return True
    return host == socket.gethostname()
