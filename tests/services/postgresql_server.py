"""A PostgreSQL server of the tests' own, on loopback, with its data in a folder."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.ports import free_port
from services.requirements import PATH

# The server refuses to run as root; Debian's package brings this user.
_USER = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPostgresql:
    """A server that answers."""

    port: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"tests_{next(self.numbers)}"
        command = ["createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", _USER, name]
        subprocess.run(_resolved(command), check=True)
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgresql_server(directory: Path, port: int | None = None) -> Iterator[RunningPostgresql]:
    """Run a server as long as the context lasts.

    Args:
        directory: For its data and its log; what an earlier server left there is kept.
        port: Of loopback; a free one by default.
    """
    port, data = port or free_port(), directory / "data"
    if not data.exists():
        _make(directory, data)
    command = ["postgres", "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "fsync=off"]
    with (directory / "server.log").open("ab") as log:
        process = subprocess.Popen(_as_user(command), stdout=log, stderr=log, cwd=data)
    try:
        _wait(process, port, directory / "server.log")
        yield RunningPostgresql(port=port)
    finally:
        process.send_signal(signal.SIGINT)  # it cuts off who is still connected
        process.wait(20)


def _make(directory: Path, data: Path) -> None:
    """Make an empty cluster of databases."""
    data.mkdir()
    for each in (directory, *directory.parents[:3]):
        each.chmod(each.stat().st_mode | 0o011)  # the server's user must get to its data
    if os.geteuid() == 0:
        shutil.chown(data, _USER)
    initdb = ["initdb", "--pgdata", str(data), "--username", _USER, "--auth", "trust", "--no-sync"]
    _run(initdb)


def _run(command: list[str]) -> None:
    subprocess.run(_as_user(command), check=True, capture_output=True, cwd="/")


def _as_user(command: list[str]) -> list[str]:
    resolved = _resolved(command)
    if os.geteuid() != 0:
        return resolved
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *resolved]


def _resolved(command: list[str]) -> list[str]:
    return [shutil.which(command[0], path=PATH) or command[0], *command[1:]]


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 30
    asking = _resolved(["pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port)])
    while time.monotonic() < end and process.poll() is None:
        if subprocess.run(asking, check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL does not answer; its log ends:\n{log.read_text()[-2000:]}")
