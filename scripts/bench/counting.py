"""Counts what is sent to a service, whoever sends it: another address that passes everything on, and back.

A registry's folder does not tell what a client sent: a blob that another repository has is sent, and kept once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

_CHUNK = 1 << 20

Address: TypeAlias = "str | tuple[str, int]"
"""The path of a Unix socket, or host and port."""


@dataclass(slots=True, kw_only=True)
class Count:
    """Bytes that went through."""

    address: Address
    """Where to send to."""
    sent: int = 0
    """To the service, with the requests' own headers."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int) -> None:
        """Count some more."""
        with self._lock:
            self.sent += size


@contextmanager
def counted(address: Address, service: Address) -> Iterator[Count]:
    """Listen, and pass everything on to `service`, as long as the context lasts.

    Args:
        address: Where to listen; port 0 takes a free one.
        service: Where the service listens.
    """
    with socket.socket(_family(address)) as listening:
        listening.bind(address)
        listening.listen(64)
        count = Count(address=listening.getsockname())
        threading.Thread(target=_serve, args=(listening, service, count), daemon=True).start()
        try:
            yield count
        finally:
            # Wakes the thread that waits for a connection; closing alone does not.
            listening.shutdown(socket.SHUT_RDWR)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_UNIX if isinstance(address, str) else socket.AF_INET


def _serve(listening: socket.socket, service: Address, count: Count) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_connect, args=(client, service, count), daemon=True).start()


def _connect(client: socket.socket, service: Address, count: Count) -> None:
    with client, socket.socket(_family(service)) as server:
        try:
            server.connect(service)
        except OSError:
            return  # the client sees a connection that ends, as it would have
        for each in (client, server):
            _without_delay(each)
        back = threading.Thread(target=_pass_on, args=(server, client, lambda size: None), daemon=True)
        back.start()
        _pass_on(client, server, count.add)
        back.join()


def _without_delay(connection: socket.socket) -> None:
    """Have what comes passed on at once, as clients and registries ask for their own connections: else the second
    half of a request waits until the first is acknowledged, for 40 ms."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _pass_on(source: socket.socket, target: socket.socket, report: Callable[[int], None]) -> None:
    buffer = memoryview(bytearray(_CHUNK))
    with contextlib.suppress(OSError):
        while size := source.recv_into(buffer):
            report(size)
            target.sendall(buffer[:size])
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
