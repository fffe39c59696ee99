"""What builds say while they run, kept in the table so that every machine can show it."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from mlflow_dbimage.service.build import LogPart
from mlflow_dbimage.service.database import BUILDS, LOGS, Database

#: Most characters of a build's log that are kept.
LONGEST = 2_000_000

_CUT = "[the log is cut here]\n"


class BuildLogs:
    """The logs of builds.

    Args:
        database: From `open_database`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, build_id: int, text: str) -> None:
        """Add whole lines to a build's log; beyond `LONGEST` it is cut, and says so once."""

        def work(connection: Connection) -> None:
            size = connection.scalar(select(BUILDS.c.log_size).where(BUILDS.c.id == build_id))
            if size is None or size >= LONGEST:
                return
            kept = text if size + len(text) <= LONGEST else f"{text[: LONGEST - size]}\n{_CUT}"
            connection.execute(insert(LOGS).values(build_id=build_id, text=kept))
            row = update(BUILDS).where(BUILDS.c.id == build_id)
            connection.execute(row.values(log_size=size + len(text)))

        self._database.change(work)

    def read(self, build_id: int, after: int = 0, limit: int = 1000) -> LogPart:
        """Return what a build's log has after a place, at most `limit` pieces of it."""
        query = (
            select(LOGS.c.number, LOGS.c.text)
            .where(LOGS.c.build_id == build_id, LOGS.c.number > after)
            .order_by(LOGS.c.number)
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return LogPart(text="".join(row.text for row in rows), after=rows[-1].number if rows else after)
