"""Workers beside a door, each in a process of its own: what they import and compute delays no answer of the door.

A worker has the door's surroundings. Its standard input stays open as long as the door lives: at its end the
worker stops in its own time, whatever ended the door. What it tells its operator goes to our standard error.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

from mlflow_dbimage.errors import ServiceError


class WorkerProcess:
    """A worker that was started.

    Args:
        when_ended: Called with its exit status, from another thread.

    Raises:
        ServiceError: `program-failed`.
    """

    def __init__(self, when_ended: Callable[[int], None]) -> None:
        command = [sys.executable, "-m", "mlflow_dbimage.backends.worker_child"]
        try:
            # In a session of its own: what a terminal sends is for the door, which ends its workers.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=sys.stderr, start_new_session=True
            )
        except OSError as error:
            raise ServiceError("program-failed", f"cannot start a worker: {error.strerror}") from error
        self._waiting = threading.Thread(target=lambda: when_ended(self._process.wait()))
        self._waiting.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def stop(self) -> None:
        """Have it stop: it ends or hands back its builds first; does not wait."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> None:
        """Wait for its end."""
        self._waiting.join()
        self.stop()  # nobody reads there any more
