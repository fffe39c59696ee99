"""Ends what a library unpacks before it has filled the disk: rattler unpacks a package of any size.

Nobody can tell such a library to stop, but files may be kept from growing: while the limit of their size is
zero, whatever writes one fails, and rattler then removes what it has begun.
"""

from __future__ import annotations

import resource
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci import disk_room

_LOOK_SECONDS = 0.05


class UnpackingWatch:
    """Watches the room on some disks, as a context; no file of this process grows once there is too little.

    Args:
        folders: On the disks.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._unpacking: dict[int, str] = {}
        self._full: str | None = None
        self._before: tuple[int, int] | None = None

    def begin(self, token: int, name: str) -> None:
        """Take note that a package is being unpacked."""
        self._unpacking[token] = name

    def end(self, token: int) -> None:
        """Take note that it is done."""
        self._unpacking.pop(token, None)

    def refuse(self) -> None:
        """Say what was ended.

        Raises:
            ServiceError: `disk-failed`.
        """
        if self._full is not None:
            raise ServiceError(
                "disk-failed",
                self._full,
                hint="free some space, or move the cache to another disk, unless the size is absurd",
            )

    def __enter__(self) -> UnpackingWatch:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End watching, and let files grow again."""
        self._ended.set()
        self._thread.join()
        if self._before is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    def _watch(self) -> None:
        least = {each: _reserve(each) for each in self._folders}
        while not self._ended.wait(_LOOK_SECONDS):
            for folder, reserve in least.items():
                free = _free(folder)
                if free < reserve:
                    self._stop(folder, free)
                    return

    def _stop(self, folder: Path, free: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if soft != 0:  # else another one has seen it first
            self._before = (soft, hard)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        names = ", ".join(f"`{name}`" for name in sorted(self._unpacking.values())) or "what was installed"
        self._full = (
            f"{names} unpacks to more than there is room for: the disk at `{folder}` has {free:,} bytes left"
        )


def _reserve(folder: Path) -> int:
    """Return how many bytes stay free: fewer where few are, as what is installed may be there already."""
    free = _free(folder)
    return disk_room.RESERVE if free > disk_room.RESERVE else free // 2


def _free(folder: Path) -> int:
    """Return the free bytes where a folder is, or will be."""
    try:
        return shutil.disk_usage(folder).free
    except FileNotFoundError:
        return _free(folder.parent)
