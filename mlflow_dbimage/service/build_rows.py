"""Rows of the table of builds, within a transaction that the caller began; `builds` says what they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    case,
    cast,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Row

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.service.build import ACTIVE, Build
from mlflow_dbimage.service.database import BUILDS, DELIVERIES
from mlflow_dbimage.service.events import Event

COLUMNS = [BUILDS.c[field.name] for field in fields(Build)]

#: What a build has no more when its worker is through with it.
RELEASED: Mapping[str, Any] = {"worker": None, "lease_until": None, "stage": "", "cancelling": False}


def _number(table: FromClause) -> ColumnElement[int]:
    return cast(table.c.version, BigInteger)


_RIVAL = BUILDS.alias("rival")
_IN_SAME_SLOT = and_(_RIVAL.c.rule == BUILDS.c.rule, _RIVAL.c.name == BUILDS.c.name)

#: Another build of the slot runs.
SLOT_IS_BUSY = exists().where(_IN_SAME_SLOT, _RIVAL.c.status == "running")
#: An older version waits, and each version is to be built: it goes first, so that the newest has the name at last.
OLDER_GOES_FIRST = exists().where(
    _IN_SAME_SLOT,
    BUILDS.c.kind == "version-created",
    _RIVAL.c.status == "queued",
    _RIVAL.c.not_before <= BUILDS.c.not_before,
    _number(_RIVAL) < _number(BUILDS),
)
#: What was asked for later has the name, or will have it: after it, this build would take the name back.
IS_OUTDATED = exists().where(
    _IN_SAME_SLOT,
    case(
        (
            BUILDS.c.kind == "version-created",
            and_(
                _RIVAL.c.status == "built",
                _RIVAL.c.ended >= BUILDS.c.created,
                _number(_RIVAL) > _number(BUILDS),
            ),
        ),
        else_=and_(_RIVAL.c.status.in_((*ACTIVE, "built")), _RIVAL.c.id > BUILDS.c.id),
    ),
)


def built(rows: Iterable[Row[Any]]) -> tuple[Build, ...]:
    """Make builds of rows."""
    return tuple(Build(**row._mapping) for row in rows)


def newest(connection: Connection, *conditions: ColumnElement[bool]) -> Build | None:
    """Return the newest build that meets all conditions."""
    query = select(*COLUMNS).where(*conditions).order_by(BUILDS.c.id.desc()).limit(1)
    return next(iter(built(connection.execute(query))), None)


def must_get(connection: Connection, build_id: int) -> Build:
    """Return a build.

    Raises:
        InputError: `build-not-found`.
    """
    found = newest(connection, BUILDS.c.id == build_id)
    if found is None:
        raise InputError("build-not-found", f"there is no build {build_id}")
    return found


def change(connection: Connection, condition: ColumnElement[bool], values: Mapping[str, Any]) -> tuple[Build, ...]:
    """Change the builds that meet a condition, and return them as they are now."""
    return built(connection.execute(update(BUILDS).where(condition).values(**values).returning(*COLUMNS)))


def add(connection: Connection, values: Mapping[str, Any], now: float) -> Build:
    """Add a build that waits, unless the values say otherwise."""
    row = {"status": "queued", "priority": 0, "created": now, **values}
    return built(connection.execute(insert(BUILDS).values(**row).returning(*COLUMNS)))[0]


def in_slot(rule: str, name: str) -> ColumnElement[bool]:
    """Those of one rule under one deployment name."""
    return and_(BUILDS.c.rule == rule, BUILDS.c.name == name)


def of_version(model: str, version: str) -> ColumnElement[bool]:
    """Those of one model version."""
    return and_(BUILDS.c.model == model, BUILDS.c.version == version)


def of_delivery(connection: Connection, delivery: str | None) -> Build | None:
    """Return the build that a delivery got when it came before."""
    if delivery is None:
        return None
    return newest(
        connection,
        BUILDS.c.id == select(DELIVERIES.c.build_id).where(DELIVERIES.c.id == delivery).scalar_subquery(),
    )


def remember_delivery(connection: Connection, event: Event, build: Build) -> None:
    """Note which build a delivery got, that has none yet."""
    if event.delivery is not None:
        row = {"id": event.delivery, "build_id": build.id, "received": event.received}
        connection.execute(insert(DELIVERIES).values(**row))


def answering(connection: Connection, event: Event, slot: ColumnElement[bool]) -> Build | None:
    """Return the build of a slot that already does what an event wants."""
    same = of_version(event.model, event.version)
    if event.kind == "version-created":  # a version is created once, whatever its slot shows or makes by now
        ended = ("built", "superseded") if is_late(connection, event, slot) else ("built",)
        return newest(connection, slot, same, BUILDS.c.status.in_((*ACTIVE, *ended)))
    active = newest(connection, slot, same, BUILDS.c.status.in_(ACTIVE))
    if active is not None or newest(connection, slot, BUILDS.c.status == "running") is not None:
        return active
    shown = newest(connection, slot, BUILDS.c.status == "built")
    return shown if shown is not None and (shown.model, shown.version) == (event.model, event.version) else None


def is_late(connection: Connection, event: Event, slot: ColumnElement[bool]) -> bool:
    """Whether a version comes after a newer one of its slot was begun: deliveries come in any order."""
    newer = and_(_number(BUILDS) > int(event.version), BUILDS.c.status.in_(("running", "built")))
    return event.kind == "version-created" and bool(connection.scalar(select(exists().where(slot, newer))))


def supersede_waiting(connection: Connection, build: Build, now: float) -> None:
    """End what waits in a build's slot besides it, unless each version is to be built."""
    if build.kind == "version-created":
        return
    others = and_(in_slot(build.rule, build.name), BUILDS.c.id != build.id, BUILDS.c.status == "queued")
    change(connection, others, {"status": "superseded", "ended": now, **RELEASED})
