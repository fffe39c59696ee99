"""A Redis server of the tests' own, on loopback; it keeps nothing."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.ports import free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRedis:
    """A server that answers."""

    port: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_database(self) -> str:
        """Return the URL of a database that no other test has."""
        return f"redis://127.0.0.1:{self.port}/{next(self.numbers)}"


@contextmanager
def redis_server(directory: Path, port: int | None = None) -> Iterator[RunningRedis]:
    """Run a server as long as the context lasts.

    Args:
        directory: For its log.
        port: Of loopback; a free one by default.
    """
    port = port or free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    with (directory / "redis.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(process, port, directory / "redis.log")
        yield RunningRedis(port=port)
    finally:
        process.kill()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        if _answers(port):
            return
        time.sleep(0.05)
    raise RuntimeError(f"Redis does not answer; its log ends:\n{log.read_text()[-2000:]}")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
