"""Room on a disk: what others packed may unpack to any size, and must not fill the builder's disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlflow_dbimage.errors import ServiceError

#: So many bytes are left to the machine.
RESERVE = 256 << 20


def must_fit(size: int, folder: Path | str, what: str) -> None:
    """Refuse to write more than there is room for.

    Args:
        size: Bytes that are to be written.
        folder: Where.
        what: Is written, for the message.

    Raises:
        ServiceError: `disk-failed`.
    """
    free = shutil.disk_usage(folder).free
    if size > max(0, free - RESERVE):
        raise ServiceError(
            "disk-failed",
            f"{what} unpacks to {size:,} bytes or more, and the disk at `{folder}` has {free:,} left",
            hint="free some space, or move the cache to another disk, unless the size is absurd",
        )
