"""The queue: huey's storage, in an SQLite file or in Redis, carrying the ids of builds and nothing else.

It may forget: huey's SQLite storage deletes a message as it hands it out, and Redis may be restarted empty. What
waits without a message is found by the sweep of a worker, so nothing is lost but time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.setting_kinds import masked

_NAME = "dbimage-builds"


class BuildQueue:
    """A queue of ids.

    Args:
        storage: One of huey's that knows priorities.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def send(self, build_id: int, priority: int = 0) -> None:
        """Add an id; a higher priority is handed out sooner.

        Raises:
            ServiceError: `queue-failed`.
        """
        with _errors():
            self._storage.enqueue(str(build_id).encode(), priority)

    def receive(self) -> int | None:
        """Take the most urgent id out, or return None where there is none; does not wait.

        Raises:
            ServiceError: `queue-failed`.
        """
        with _errors():
            data = self._storage.dequeue()
        text = bytes(data).decode(errors="replace") if data is not None else ""
        return int(text) if text.isdecimal() else None

    def size(self) -> int:
        """Return how many messages wait.

        Raises:
            ServiceError: `queue-failed`.
        """
        with _errors():
            return int(self._storage.queue_size())

    def is_empty(self) -> bool:
        """Whether no message waits.

        Raises:
            ServiceError: `queue-failed`.
        """
        return self.size() == 0

    def close(self) -> None:
        """Close the connections of this process, and in a file those of this thread."""
        self._storage.close()
        pool = getattr(self._storage, "pool", None)  # huey leaves Redis's open
        if pool is not None:
            pool.disconnect()


def open_queue(url: str | None, file: Path) -> BuildQueue:
    """Open the queue of a URL of Redis, or without one that of a file, which is made where it is missing.

    Raises:
        ServiceError: `queue-failed`.
    """
    from huey.storage import PriorityRedisStorage, SqliteStorage

    if url is None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _errors():
            return BuildQueue(SqliteStorage(_NAME, filename=str(file), timeout=30))
    try:
        import redis
    except ImportError as error:
        raise ServiceError(
            "queue-failed",
            "a queue in Redis needs the Python module `redis`",
            hint="install the extra `redis`: `pip install 'mlflow-dbimage[redis]'`",
        ) from error
    pool = redis.ConnectionPool.from_url(url, socket_timeout=10, socket_connect_timeout=10)
    return BuildQueue(PriorityRedisStorage(_NAME, blocking=False, connection_pool=pool))


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _failed(error) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "redis":
            raise
        raise _failed(error) from error


def _failed(error: Exception) -> ServiceError:
    return ServiceError(
        "queue-failed",
        f"the service's queue failed: {masked(str(error))}",
        hint="check `service_queue`, and that the queue can be reached",
    )
