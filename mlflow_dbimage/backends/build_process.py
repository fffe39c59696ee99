"""Starts the processes of builds (`service.build_process.Starter`), and hears what they say.

A process leads a session of its own. It gets what is to be built on its standard input, never on its command line,
and the input stays open as long as its worker lives: at its end the process stops, whatever killed the worker. One
more byte there lets it name its image.
It reports on its standard output, a JSON object a line; what it writes to its standard error is for the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from mlflow_dbimage.backends.credentials_in_urls import scrubbed, secrets_of
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_process import Done, Failed, Lines, Message, Moved, Naming, Stage

_MODULE = "mlflow_dbimage.backends.build_child"
# What only the service needs: a model's environment is none of its business.
_OF_THE_SERVICE = ("DBIMAGE_SERVICE_", "DBIMAGE_WEBHOOK_", "DBIMAGE_RULES")
_SECRET_ENDINGS = ("PASSWORD", "TOKEN", "SECRET", "_KEY", "CREDENTIALS")
_SHORTEST_SECRET = 6
_PATIENCE = 5.0
_LONGEST_LINE = 4000


class ChildStarter:
    """Starts builds as children of this process."""

    def start(self, build: Build) -> ChildProcess:
        """Start a build."""
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_SERVICE)}
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**surroundings, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise ServiceError(
                "program-failed", f"cannot start the process of a build: {error.strerror}"
            ) from error
        return ChildProcess(process, {**build.request, "name": build.name, "alias": build.alias}, surroundings)


class ChildProcess:
    """One build under way.

    Args:
        process: That was started, with pipes for its three streams.
        request: What it is to build.
        surroundings: Its environment, whose secrets no log may have.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], request: Mapping[str, object], surroundings: Mapping[str, str]
    ) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process = process
        self._reports = _Pipe(process.stdout)
        self._writings = _Pipe(process.stderr)
        self._secrets = _secrets(surroundings)
        self._stopped_at: float | None = None
        with contextlib.suppress(BrokenPipeError):  # it may have died already, which will be noticed
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()

    @property
    def pid(self) -> int:
        """Of the process, and of its session."""
        return self._process.pid

    def heard(self) -> tuple[Message, ...]:
        """Return what it has said since last time."""
        self._insist()
        written = [self._clean(line) for line in self._writings.lines()]
        lines = [Lines(text="".join(f"{line}\n" for line in written))] if written else []
        reports = [self._message(line) for line in self._reports.lines()]
        return (*lines, *(each for each in reports if each is not None))

    def has_ended(self) -> bool:
        """Whether it has ended, and all that it said was heard."""
        if self._process.poll() is None:
            return False
        # What it started may hold the pipes open; the session goes with its leader.
        self._signal(signal.SIGKILL)
        return self._reports.is_drained() and self._writings.is_drained()

    def allow(self) -> None:
        """Let it name its image."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """Ask the session to end; what does not is killed some seconds later."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Close the pipes, after the end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._reports.close()
        self._writings.close()

    def _insist(self) -> None:
        if self._stopped_at is not None and time.monotonic() - self._stopped_at > _PATIENCE:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal what has ended
            os.killpg(self._process.pid, number)

    def _message(self, line: str) -> Message | None:
        try:
            report = json.loads(line)
            kind, data = report["kind"], report["data"]
            if kind == "stage":
                return Stage(text=self._clean(data))
            if kind == "line":
                return Lines(text=f"{self._clean(data)}\n")
            if kind in ("naming", "done"):
                return Done(receipt=data) if kind == "done" else Naming()
            if kind == "moved":
                return Moved(text=self._clean(data))
            return Failed(code=data["code"], text=self._clean(data["text"]), may_pass=data["may_pass"])
        except (ValueError, KeyError, TypeError):
            return Lines(text=f"{self._clean(line)}\n")  # some library wrote to the standard output

    def _clean(self, text: str) -> str:
        clean = scrubbed(text, self._secrets)[:_LONGEST_LINE]  # in this order: half a secret is one too
        return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in clean)


class _Pipe:
    """The end of a pipe that is read without waiting, line by line."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._rest = b""
        self._is_closed = False
        os.set_blocking(stream.fileno(), False)

    def lines(self) -> list[str]:
        """Return the whole lines that came; at the end of the stream the last one may be unfinished."""
        data = self._rest + b"".join(iter(self._read, b""))
        *whole, self._rest = data.split(b"\n")
        if self._is_closed and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def is_drained(self) -> bool:
        """Whether all was read, to the end of the stream."""
        return self._is_closed and not self._rest

    def close(self) -> None:
        """Close it, whatever has not been read."""
        self._is_closed = True
        self._stream.close()

    def _read(self) -> bytes:
        if self._is_closed:
            return b""
        try:
            data = os.read(self._stream.fileno(), 1 << 16)
        except BlockingIOError:
            return b""
        if not data:
            self.close()
        return data


def _secrets(surroundings: Mapping[str, str]) -> tuple[str, ...]:
    named = [value for name, value in surroundings.items() if name.upper().endswith(_SECRET_ENDINGS)]
    urls = [value for value in surroundings.values() if "://" in value and "@" in value]
    found = {*named, *secrets_of(urls)}
    files = {value for value in found if Path(value).is_absolute()}
    long = [value for value in found - files if len(value) >= _SHORTEST_SECRET]
    return tuple(sorted(long, key=len, reverse=True))
