"""What the service needs and is away: the operator is told once when it goes, and once when it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mlflow_dbimage.errors import DbimageError

_THINGS = {
    "database-failed": "the service's database",
    "queue-failed": "the service's queue",
    "store-failed": "the model registry",
}


class OutageNotes:
    """The outages of one process, whichever of its threads meets them.

    Args:
        say: Tells the operator a line.
        clock: Seconds that only go forward.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}

    def met(self, error: DbimageError) -> None:
        """Tell an error, unless it is of an outage that was told; one that is of none is told each time."""
        with self._lock:
            is_known = error.code in self._since
            if error.code in _THINGS:
                self._since.setdefault(error.code, self._clock())
        if not is_known:
            self._say(error.message)

    def over(self, code: str) -> None:
        """Tell that what failed with a code works again, if it did not."""
        with self._lock:
            since = self._since.pop(code, None)
        if since is not None:
            self._say(f"{_THINGS[code]} is back, after {self._clock() - since:.0f} s")
