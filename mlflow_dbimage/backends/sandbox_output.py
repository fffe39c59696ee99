"""What a program in a sandbox wrote: its messages, and the file with its result. Neither is trusted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mlflow_dbimage.errors import ServiceError

_TAIL = 64 * 1024
_MOST_AT_ONCE = 2**20
_MOST_RESULT = 64 * 2**20


class Lines:
    """Passes on what a program writes to a file, line by line.

    The program and we have one position in the file, which is left alone.

    Args:
        stream: The file.
        report: Told each line, made `printable`; None where nobody wants to know.
    """

    def __init__(self, stream: IO[bytes], report: Callable[[str], None] | None) -> None:
        self._descriptor = stream.fileno()
        self._report = report
        self._place = 0
        self._begun = b""

    def pass_on(self, *, last: bool = False) -> None:
        """Report the lines that were ended since, and at the last one that was not.

        Of a program that writes faster than anybody reads, what is old is left out.
        """
        size = os.fstat(self._descriptor).st_size
        if self._report is None:
            return
        if size - self._place > _MOST_AT_ONCE:
            self._place, self._begun = size - _MOST_AT_ONCE, b""
        chunk = os.pread(self._descriptor, size - self._place, self._place)
        self._place += len(chunk)
        *whole, begun = (self._begun + chunk).split(b"\n")
        if begun and (last or len(begun) > _TAIL):
            whole.append(begun)
            begun = b""
        self._begun = begun
        for line in whole:
            self._report(printable(line.decode(errors="replace"), _TAIL))


def tail(stream: IO[bytes]) -> str:
    """Return the end of what a program wrote to a file, made `printable`."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _TAIL))
    return printable(stream.read(_TAIL).decode(errors="replace"), _TAIL)


def printable(text: str, most: int) -> str:
    """Return a text that came from a sandbox, cut off, without what would command a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text[:most])


def read_result(path: Path) -> bytes:
    """Read a file that a program in a sandbox wrote: the file itself, and not one that it points at.

    Raises:
        ServiceError: `program-failed`, there is none, or it is no plain file of a sane size.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ServiceError(
            "program-failed", f"the environment's Python left no result: {error.strerror}"
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_RESULT:
            raise ServiceError("program-failed", "the environment's Python left something else than its result")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(_MOST_RESULT)
    finally:
        os.close(descriptor)
