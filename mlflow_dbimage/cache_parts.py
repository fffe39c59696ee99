"""The parts of a cache folder: how much each holds, and what goes when it is pruned.

What goes goes as a whole: a file that stands alone, or a folder that a library or a check keeps as one. What a
running build wrote or read a moment ago is the last to go, and what it holds stays.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

#: Seconds after which a folder of a build under way is one that was left behind.
WORK_LEFT_BEHIND_AFTER = 24 * 3600.0
#: Of a folder that checks hold: they lock this file in it, and its time is that of their last use.
STATE_FILE = "state"

# Nothing that a build may still be at goes because there is too much.
_LATELY = 3600.0
# Systems note once a day that a file is read (`relatime`).
_READ_WITHIN = 24 * 3600.0
_LOCKS, _WORK = "locks", "work"
# Parts whose folders only sort their files.
_PARTS_OF_FILES = ("bytecode", "records")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """How much one part of the cache holds."""

    part: str
    files: int
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """What goes as a whole."""

    part: str
    path: Path
    files: int
    size: int
    last_used: float


def measure(root: Path) -> tuple[CacheUse, ...]:
    """Measure each part of a cache folder."""
    return tuple(_use_of(part, _units(part)) for part in _parts(root))


def prune(root: Path, *, keep_days: float | None = None, keep_size: int | None = None) -> tuple[CacheUse, ...]:
    """Delete from a cache folder, and return how much went from each part.

    Safe beside running builds: whatever is missing is made or fetched again.

    Args:
        root: The folder.
        keep_days: What was not used for so many days goes; None where age is no reason.
        keep_size: Bytes that may stay; what was not used for longest goes first, and nothing of the last hour.
    """
    now = time.time()
    parts = [part for part in _parts(root) if part.name != _LOCKS]
    units = sorted((unit for part in parts for unit in _units(part)), key=lambda unit: unit.last_used)
    gone = []
    left = sum(unit.size for unit in units)
    for unit in units:
        age = max(0.0, now - unit.last_used)
        too_old = keep_days is not None and age >= keep_days * 86400
        too_much = keep_size is not None and left > keep_size and age > _LATELY
        if unit.part == _WORK and age < WORK_LEFT_BEHIND_AFTER:
            continue
        if (too_old or too_much) and delete(unit.path):
            gone.append(unit)
            left -= unit.size
    return tuple(_use_of(part, [unit for unit in gone if unit.part == part.name]) for part in parts)


def delete(path: Path) -> bool:
    """Delete a file or a folder; say whether it went: what others hold stays."""
    try:
        if not path.is_dir():
            path.unlink()
        elif (path / STATE_FILE).is_file():
            with held(path, alone=True):
                shutil.rmtree(path)
        else:
            shutil.rmtree(path)
    except OSError:
        return False
    return True


@contextmanager
def held(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold a folder with a state file: beside others who use it, or alone to delete it. Ends with the process.

    Raises:
        FileNotFoundError: It is gone.
        OSError: Others hold it.
    """
    import fcntl  # noqa: PLC0415  # Windows has none

    descriptor = os.open(folder / STATE_FILE, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink == 0:  # deleted by whom we waited for
            raise FileNotFoundError(errno.ENOENT, "is gone", str(folder))
        if not alone:
            with suppress(PermissionError):  # it is another user's
                os.utime(descriptor)
        yield
    finally:
        os.close(descriptor)


def _parts(root: Path) -> list[Path]:
    return [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []


def _units(part: Path) -> list[_Unit]:
    paths = part.rglob("*") if part.name in _PARTS_OF_FILES else part.iterdir()
    found = []
    for path in paths:
        with suppress(OSError):  # it may go meanwhile
            if path.is_file() or part.name not in _PARTS_OF_FILES:
                found.append(_unit(part.name, path))
    return found


def _unit(part: str, path: Path) -> _Unit:
    count = size = 0
    newest = 0.0
    for status in _statuses(path):
        count += 1
        size += status.st_size
        newest = max(newest, status.st_mtime, min(status.st_atime + _READ_WITHIN, time.time()))
    state = path / STATE_FILE
    if state.is_file():  # what lies beside it has the times of layers
        newest = state.stat().st_mtime
    elif part == _WORK:  # layers that are just being unpacked have times of their own
        newest = max(newest, path.stat().st_mtime)
    elif not path.is_dir():  # a build that uses it notes that
        status = path.stat()
        newest = max(status.st_mtime, status.st_atime)
    return _Unit(part=part, path=path, files=count, size=size, last_used=newest or path.stat().st_mtime)


def _statuses(path: Path) -> Iterator[os.stat_result]:
    if not path.is_dir():
        yield path.stat()
        return
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                yield os.lstat(f"{folder}/{name}")


def _use_of(part: Path, units: Iterable[_Unit]) -> CacheUse:
    sums: Counter[str] = Counter()
    for unit in units:
        sums["files"] += unit.files
        sums["size"] += unit.size
    return CacheUse(part=part.name, files=sums["files"], size=sums["size"])
