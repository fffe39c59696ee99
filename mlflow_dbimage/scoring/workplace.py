"""What the process needs around a job: its streams, signals, folders, environment variables and collector.

The root file system may be read-only, the user may have no home, and models print: none of that may matter.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from types import FrameType
from typing import IO, Iterator, Optional

from .failures import Stopped

_TEMPORARY_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # a private folder is made below one
#: MLflow 3 sends usage data, and looks for `git`; neither has a place in a job.
_DEFAULTS = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


@contextmanager
def output_kept_apart() -> Iterator[IO[bytes]]:
    """Give the standard output as a stream of its own, and send all else that is printed to standard error.

    It is done for the file descriptor, so that C libraries and child processes are caught too.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "wb") as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` on SIGTERM and on Ctrl-C, as process 1 of a container too."""

    def stop(number: int, frame: Optional[FrameType]) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def garbage_left_alone() -> Iterator[None]:
    """Have the collector look seldom for garbage: what imports make, a million objects, stays.

    Looking through it again and again is a quarter of the time that a model takes to load.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def writable_folders() -> Iterator[None]:
    """Set `HOME`, `TMPDIR` and MLflow's variables so that libraries find folders that they can write to.

    What is set and writable stays. What is made is removed at the end.
    """
    before = dict(os.environ)
    temporary = _first_writable()
    folder = tempfile.mkdtemp(prefix="dbimage-score-", dir=temporary) if temporary else None
    try:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        if folder is not None:
            _settle(folder, temporary or "")
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _settle(folder: str, temporary: str) -> None:
    if not _is_writable(os.environ.get("TMPDIR", "/tmp")):  # noqa: S108  # asked, not used
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
    if not _is_writable(os.environ.get("HOME", "")):
        os.environ["HOME"] = folder
        # Set by a site for a home that is not there.
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
            if not _is_writable(os.environ.get(name, folder)):
                del os.environ[name]
    # Unset, MLflow makes its store in the working directory as soon as something asks for it.
    os.environ.setdefault("MLFLOW_TRACKING_URI", "file://" + os.path.join(folder, "mlruns"))


def _first_writable() -> Optional[str]:
    wishes = (os.environ.get("TMPDIR", ""),) + _TEMPORARY_FOLDERS + (os.getcwd(),)
    return next((folder for folder in wishes if _is_writable(folder)), None)


def _is_writable(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
