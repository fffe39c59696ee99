"""A program that may run so long and say so much, and no more."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlflow_dbimage.errors import ServiceError

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended."""

    exit_code: int
    """Negative: the signal that ended it."""
    in_time: bool
    output: bytes
    """From the beginning of what it wrote to standard output."""
    messages: str
    """The end of what it wrote to standard error."""


def run_limited(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, seconds: float, most: int
) -> Finished:
    """Run a program, and end it and all that it started in its session.

    Args:
        command: The program and its arguments.
        environment: All variables that it gets.
        folder: Where it runs.
        seconds: How long it may take.
        most: How many bytes of each of its streams are kept.

    Raises:
        ServiceError: `program-failed`, it does not start.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ServiceError("program-failed", f"`{command[0]}` does not start: {error.strerror}") from error
    with process, ThreadPoolExecutor(2) as pool:
        assert process.stdout is not None and process.stderr is not None
        output = pool.submit(_beginning, process.stdout, most)
        messages = pool.submit(_end, process.stderr, most)
        in_time = _wait(process, seconds)
        return Finished(
            exit_code=process.returncode,
            in_time=in_time,
            output=output.result(),
            messages=messages.result().decode("utf-8", "replace"),
        )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a program, and end what it left: that would hold its streams open."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True


def _beginning(stream: IO[bytes], most: int) -> bytes:
    kept = bytearray()
    while chunk := stream.read(_CHUNK):  # to its end, so that the program does not wait for us
        kept += chunk[: most - len(kept)]
    return bytes(kept)


def _end(stream: IO[bytes], most: int) -> bytes:
    kept = bytearray()
    while chunk := stream.read(_CHUNK):
        kept = (kept + chunk)[-most:]
    return bytes(kept)
