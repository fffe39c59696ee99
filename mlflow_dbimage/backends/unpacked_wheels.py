"""Wheels unpacked once for all environments: what is put into a prefix is linked from here.

    <sha256>-<user>/state   what `installer` does with the wheel (`wheel_listing`)
    <sha256>-<user>/<n>     its n-th file, read-only

Each user has his own: a link needs it, and nobody else can change what goes into his images. What he or the disk
changed all the same is found when it is put in, and the wheel is unpacked again.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from mlflow_dbimage.backends.wheel_files import unpack
from mlflow_dbimage.backends.wheel_listing import WheelListing
from mlflow_dbimage.backends.wheel_prefix import Damaged, PlacedWheel
from mlflow_dbimage.build_cache import write_aside
from mlflow_dbimage.cache_parts import STATE_FILE, held
from mlflow_dbimage.errors import ServiceError

# Others may empty the cache meanwhile.
_TRIES = 3


class UnpackedWheels:
    """The unpacked wheels of a cache.

    Args:
        directory: Their folder; it exists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, sha256: str) -> bool:
        """Whether a wheel is unpacked; its files may be damaged."""
        return (self._place(sha256) / STATE_FILE).is_file()

    def listing(self, sha256: str, wheel: Path) -> WheelListing:
        """Return the listing of a wheel, unpacked if need be.

        Args:
            sha256: Of the wheel.
            wheel: The intact file.

        Raises:
            InputError: `model-unsafe`.
            OSError: The disk is full.
        """
        return self._known(sha256) or self._unpack(sha256, wheel)

    def install(self, sha256: str, wheel: Path, into: PlacedWheel) -> None:
        """Put a wheel into a prefix.

        Args:
            sha256: Of the wheel.
            wheel: The intact file, from which it is unpacked where it is not, or is damaged.
            into: Its place in the prefix.

        Raises:
            InputError: `model-unsafe`.
            ServiceError: `disk-failed`, what is unpacked is damaged at once.
            OSError: The disk is full, or a file is there already.
        """
        place = self._place(sha256)
        for _ in range(_TRIES):
            listing = self.listing(sha256, wheel)
            try:
                with held(place, alone=False):
                    return into.put(listing, place)
            except (Damaged, FileNotFoundError):
                into.undo()
                self._drop(place)
        raise ServiceError(
            "disk-failed",
            f"what `{wheel.name}` is unpacked to in `{place}` is not what was written there",
            hint="look at the disk, or name another `cache_dir`",
        )

    def _place(self, sha256: str) -> Path:
        return self._directory / f"{sha256}-{os.geteuid()}"

    def _known(self, sha256: str) -> WheelListing | None:
        path = self._place(sha256) / STATE_FILE
        try:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    return None
                return WheelListing.from_bytes(stream.read(), sha256)
        except (OSError, ValueError):
            return None

    def _unpack(self, sha256: str, wheel: Path) -> WheelListing:
        with tempfile.TemporaryDirectory(dir=self._directory) as aside:
            new = Path(aside) / "new"
            new.mkdir()
            listing = unpack(wheel, sha256, new)
            write_aside(new / STATE_FILE, listing.to_bytes())
            place = self._place(sha256)
            if self._known(sha256) is None:
                self._drop(place)
            try:
                new.rename(place)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another build was faster
                    raise
        return listing

    def _drop(self, place: Path) -> None:
        """Take away what is damaged; who is linking from it finds out."""
        with tempfile.TemporaryDirectory(dir=self._directory) as aside, suppress(FileNotFoundError):
            place.rename(Path(aside) / "old")
