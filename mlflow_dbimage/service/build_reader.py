"""What may be asked of the table of builds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import func, select

from mlflow_dbimage.service.build import Build, Order, Status
from mlflow_dbimage.service.build_rows import (
    COLUMNS,
    OLDER_GOES_FIRST,
    SLOT_IS_BUSY,
    built,
    in_slot,
    must_get,
    newest,
    of_version,
)
from mlflow_dbimage.service.database import BUILDS, UNTOLD, Database
from mlflow_dbimage.service.events import Event


class BuildReader:
    """The table of builds, as those see it who only look.

    Every method raises ServiceError `database-failed` where the database does.

    Args:
        database: From `open_database`.
        clock: The time in seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def due(self, limit: int = 1000) -> tuple[Build, ...]:
        """Return what could be begun now, most urgent first."""
        query = (
            select(*COLUMNS)
            .where(
                BUILDS.c.status == "queued", BUILDS.c.not_before <= self._clock(), ~SLOT_IS_BUSY, ~OLDER_GOES_FIRST
            )
            .order_by(BUILDS.c.priority.desc(), BUILDS.c.id)
            .limit(limit)
        )
        return self._database.read(lambda connection: built(connection.execute(query)))

    def get(self, build_id: int) -> Build:
        """Return a build.

        Raises:
            InputError: `build-not-found`.
        """
        return self._database.read(lambda connection: must_get(connection, build_id))

    def find(
        self,
        *,
        status: Sequence[Status] = (),
        model: str | None = None,
        version: str | None = None,
        rule: str | None = None,
        name: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[Build, ...]:
        """Return builds, newest first; `before` is the id of the last one of the page before."""
        conditions = [
            BUILDS.c.status.in_(status) if status else None,
            BUILDS.c.model == model if model is not None else None,
            BUILDS.c.version == version if version is not None else None,
            BUILDS.c.rule == rule if rule is not None else None,
            BUILDS.c.name == name if name is not None else None,
            BUILDS.c.id < before if before is not None else None,
        ]
        given = [each for each in conditions if each is not None]
        query = select(*COLUMNS).where(*given).order_by(BUILDS.c.id.desc()).limit(limit)
        return self._database.read(lambda connection: built(connection.execute(query)))

    def counts(self) -> dict[Status, int]:
        """Return how many builds there are in each state; a state without builds is left out."""
        query = select(BUILDS.c.status, func.count()).group_by(BUILDS.c.status)
        return self._database.read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})

    def known(self, event: Event, order: Order) -> bool:
        """Whether an event has had its build, however that ended; for who compares a registry with the table."""
        slot, same = in_slot(order.rule, order.name), of_version(event.model, event.version)
        if event.kind != "alias-set":
            return self._database.read(lambda connection: newest(connection, slot, same)) is not None
        lasting = BUILDS.c.status != "superseded"
        shown = self._database.read(lambda connection: newest(connection, slot, lasting))
        return shown is not None and (shown.model, shown.version) == (event.model, event.version)

    def untold(self, limit: int = 100) -> tuple[Build, ...]:
        """Return builds whose status the registry has not been told, oldest first."""
        query = select(*COLUMNS).where(UNTOLD).order_by(BUILDS.c.id).limit(limit)
        return self._database.read(lambda connection: built(connection.execute(query)))
