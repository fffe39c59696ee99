"""Sums over the table of builds, for who measures the service."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from mlflow_dbimage.service.database import BUILDS, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusTotals:
    """The builds of one status."""

    builds: int = 0
    timed: int = 0
    """Those that began and ended."""
    seconds: float = 0.0
    """Of all these together, their last attempts alone."""
    sent_bytes: int = 0


class BuildTotals:
    """The table of builds, in sums.

    Args:
        database: From `open_database`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> dict[str, StatusTotals]:
        """Return the sums by status; a status without builds is left out.

        Raises:
            ServiceError: `database-failed`.
        """
        lasted = BUILDS.c.ended - BUILDS.c.started
        query = select(
            BUILDS.c.status, func.count(), func.count(lasted), func.sum(lasted), func.sum(BUILDS.c.sent_bytes)
        ).group_by(BUILDS.c.status)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return {
            row[0]: StatusTotals(
                builds=row[1], timed=row[2], seconds=float(row[3] or 0), sent_bytes=int(row[4] or 0)
            )
            for row in rows
        }
