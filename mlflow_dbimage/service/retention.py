"""What the table need not keep for ever: logs of builds that ended long ago, and the numbers of their deliveries.

The builds themselves stay, at a few thousand bytes each: by them the service knows that a version, an alias or a
tag has had its image, and what is counted never becomes less.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, exists, or_, select, update

from mlflow_dbimage.service.build import ACTIVE
from mlflow_dbimage.service.database import BUILDS, DELIVERIES, LOGS, Database

_DAY = 86400.0
_AT_A_TIME = 10  # builds, of which each may have two million characters: nothing else changes meanwhile


def prune(database: Database, days: int, now: float) -> int:
    """Let go of logs and deliveries of builds that ended so many days ago, and return how many builds those were.

    Raises:
        ServiceError: `database-failed`.
    """
    has_delivery = exists().where(DELIVERIES.c.build_id == BUILDS.c.id)
    is_old = and_(BUILDS.c.status.not_in(ACTIVE), BUILDS.c.ended < now - days * _DAY)
    is_told = BUILDS.c.told == BUILDS.c.status  # before, the registry has yet to be given the log
    query = select(BUILDS.c.id).where(is_old, is_told, or_(BUILDS.c.log_size > 0, has_delivery)).limit(_AT_A_TIME)

    def some(connection: Connection) -> int:
        ids = list(connection.scalars(query))
        connection.execute(delete(LOGS).where(LOGS.c.build_id.in_(ids)))
        connection.execute(delete(DELIVERIES).where(DELIVERIES.c.build_id.in_(ids)))
        connection.execute(update(BUILDS).where(BUILDS.c.id.in_(ids)).values(log_size=0))
        return len(ids)

    total = 0
    while database.read(lambda connection: connection.scalar(query)) is not None:  # usually nothing, and no lock
        total += database.change(some)
    return total
