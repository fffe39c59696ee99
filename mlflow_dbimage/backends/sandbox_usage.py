"""What a program and all that it started use: processes, memory, disk; read from /proc, where there is one."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

#: So much memory and disk, in bytes, is left to the machine.
RESERVE = 256 * 2**20

#: Bytes that a program must have written before it is told that it filled a disk.
_MUCH = 16 * 2**20
_MOST_ENTRIES = 100_000
_DEEPEST = 100


def descendants(process: int) -> tuple[int, ...]:
    """List a process and all that it started, directly or not."""
    found, waiting = [], [process]
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting += _children(current)
    return tuple(found)


def end(process: int) -> None:
    """End what a process started and left, again and again until nothing is new."""
    while True:
        started = descendants(process)[1:]
        if not started:
            return
        for each in started:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        if all(_is_gone(each) for each in started):
            return


def memory_of(processes: Iterable[int], limit: int) -> int:
    """Return the bytes of memory that processes use together.

    What they share is told apart only where it matters, above `limit`: that takes the kernel longer.
    """
    pids = tuple(processes)
    total = sum(
        _from(f"/proc/{pid}/status", "RssAnon:") + _from(f"/proc/{pid}/status", "RssShmem:") for pid in pids
    )
    return total if total <= limit else sum(_from(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids)


def disk_of(folder: Path, limit: int) -> int:
    """Return the bytes that a folder takes on disk, or so many above `limit` as are seen first.

    Raises:
        ValueError: It holds what nobody could measure: folders that cannot be read, or too many of anything.
    """
    waiting, total, entries = [(str(folder), 0)], 0, 0
    while waiting and total <= limit:
        place, depth = waiting.pop()
        for entry in _entries(place):
            entries += 1
            if entries > _MOST_ENTRIES or depth > _DEEPEST:
                raise ValueError("more files or deeper folders than anybody needs")
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                total += 512 * status.st_blocks
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((entry.path, depth + 1))
    return total


def is_exhausted(folder: Path, written: int) -> Literal["memory", "disk"] | None:
    """Tell what the machine itself has nearly none left of: memory, or disk where `folder` is.

    Args:
        folder: Where the program writes.
        written: Bytes that it wrote there; a disk that somebody else filled is not told of.
    """
    available = _from("/proc/meminfo", "MemAvailable:")
    if 0 < available < RESERVE:
        return "memory"
    return "disk" if written > _MUCH and shutil.disk_usage(folder).free < RESERVE else None


def _children(process: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with suppress(OSError), open(f"/proc/{process}/task/{task}/children") as stream:
                found += map(int, stream.read().split())
    return found


def _is_gone(process: int) -> bool:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


def _from(path: str, field: str) -> int:
    """Return a figure of the kernel's, given in kB, in bytes; 0 where there is none."""
    with suppress(OSError), open(path) as stream:
        for line in stream:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(itertools.islice(entries, _MOST_ENTRIES + 1))
    except PermissionError as error:
        raise ValueError("a folder that cannot be read") from error
    except OSError:
        return []  # gone meanwhile
