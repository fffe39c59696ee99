"""A program that may run so long and say so much, and no more."""

from __future__ import annotations

import marshal
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlflow_dbimage.backends import sandbox_launcher, sandbox_usage
from mlflow_dbimage.errors import ServiceError

_CHUNK = 1 << 16
_LOOK_EVERY = 0.05
# Seconds: for the launcher to end what the program started; for what was written to arrive.
_TO_END, _TO_ARRIVE = 5.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended."""

    exit_code: int
    """As shells tell it."""
    in_time: bool
    output: bytes
    """From the beginning of what it wrote to standard output."""
    messages: str
    """The end of what it wrote to standard error."""


def run_limited(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, seconds: float, most: int
) -> Finished:
    """Run a program, and end it and all that it started.

    The launcher of sandboxes is the parent of what the program leaves, whatever session that is in; what gets
    away all the same and holds a stream open does not hold us.

    Args:
        command: The program and its arguments.
        environment: All variables that it gets.
        folder: Where it runs.
        seconds: How long it may take.
        most: How many bytes of each of its streams are kept.

    Raises:
        ServiceError: `program-failed`, the launcher does not start.
    """
    plan = marshal.dumps({"limits": {}, "mode": "supervise"}).hex()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(sandbox_launcher.__file__), plan, *command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ServiceError("program-failed", f"`{command[0]}` does not start: {error.strerror}") from error
    output, messages = bytearray(), bytearray()
    with process, selectors.DefaultSelector() as streams:
        assert process.stdout is not None and process.stderr is not None
        _watch(streams, process.stdout, lambda chunk: output.extend(chunk[: most - len(output)]))
        _watch(streams, process.stderr, lambda chunk: _keep_end(messages, chunk, most))
        try:
            in_time = _ends(process, streams, time.monotonic() + seconds)
        finally:
            _end(process)
        _read(streams, time.monotonic() + _TO_ARRIVE)
    text = messages.decode("utf-8", "replace")
    return Finished(exit_code=process.returncode, in_time=in_time, output=bytes(output), messages=text)


def _watch(streams: selectors.BaseSelector, stream: IO[bytes], keep: Callable[[bytes], None]) -> None:
    os.set_blocking(stream.fileno(), False)
    streams.register(stream, selectors.EVENT_READ, keep)


def _keep_end(kept: bytearray, chunk: bytes, most: int) -> None:
    kept += chunk
    del kept[:-most]


def _ends(process: subprocess.Popen[bytes], streams: selectors.BaseSelector, end: float) -> bool:
    """Read until a program ends, so that it does not wait for us; return whether that was in time."""
    while process.poll() is None:
        if time.monotonic() > end:
            return False
        _read_once(streams)
    return True


def _read(streams: selectors.BaseSelector, end: float) -> None:
    """Read what is left, to the end of both streams unless somebody holds them open."""
    while streams.get_map() and time.monotonic() < end:
        _read_once(streams)


def _read_once(streams: selectors.BaseSelector) -> None:
    for key, _ in streams.select(_LOOK_EVERY):
        chunk = os.read(key.fd, _CHUNK)
        if chunk:
            key.data(chunk)
        else:
            streams.unregister(key.fileobj)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the launcher end all that there is, and end it and them where it does not."""
    process.terminate()
    try:
        process.wait(_TO_END)
    except subprocess.TimeoutExpired:
        sandbox_usage.end(process.pid)
        process.kill()
        process.wait()
