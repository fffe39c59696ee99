"""The process of a worker beside a door: `python -m mlflow_dbimage.backends.worker_child`."""

from __future__ import annotations

import os
import signal
import sys
import threading

from mlflow_dbimage import settings_sources
from mlflow_dbimage.backends.service_worker import run_worker
from mlflow_dbimage.errors import DbimageError

# Where both want to run, the door is first; builds are behind either.
_NICENESS = 5


def main() -> None:
    """Work until told to stop by a signal, or by the end of the standard input."""
    os.nice(_NICENESS)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_watch_door, args=(stop,), daemon=True).start()
    try:
        run_worker(settings_sources.load(), _say, stop)
    except DbimageError as error:
        _say(f"error: {error}")
        raise SystemExit(error.exit_code) from error


def _watch_door(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
