"""The files of a run: results are written to a folder beside their place, and moved when all is done."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage.errors import VerificationError, disk_errors
from mlflow_dbimage.image_run import ScoreRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFolder:
    """A folder that a run may write to."""

    path: Path
    request: ScoreRequest

    def names(self) -> dict[Path, str]:
        """Return the names that results have in the folder, by the place that they shall have."""
        # Two folders of the request may hold files of one name.
        return {
            place: f"{index}-{place.name}"
            for index, place in enumerate(filter(None, (self.request.output, self.request.rejects)))
        }

    def publish(self) -> None:
        """Move the results to their places.

        Raises:
            VerificationError: `scoring-failed`, one is no plain file: a link would have us read what it leads to.
        """
        with disk_errors():
            for name in self.names().values():
                _must_be_plain(self.path / name)
            for place, name in reversed(self.names().items()):
                shutil.move(self.path / name, place)


def _must_be_plain(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise VerificationError("scoring-failed", "the image left something else than a file as its result")


@contextmanager
def result_folder(request: ScoreRequest) -> Iterator[ResultFolder]:
    """Make a folder for results on the disk that they shall be on; it goes with the context."""
    with disk_errors():
        request.output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(dir=request.output.parent, prefix=".dbimage-run-")
    try:
        yield ResultFolder(path=Path(folder), request=request)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
