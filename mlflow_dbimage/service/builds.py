"""What may happen to builds, each as one transaction; the truth about every build is here.

    queued -> running -> built | failed | cancelled | superseded
       ^         |
       +---------+   a failure that may pass, a worker that hands back, a lease that is lost

Builds of one rule under one deployment name share a *slot*: the name can show one version only. In a slot one
build runs at a time. Of aliases and tags, what is asked for last supersedes what waits; of created versions each
is built, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_

from mlflow_dbimage.service.build import ACTIVE, Build, Order, Status
from mlflow_dbimage.service.build_reader import BuildReader
from mlflow_dbimage.service.build_rows import (
    IS_OUTDATED,
    OLDER_GOES_FIRST,
    RELEASED,
    SLOT_IS_BUSY,
    add,
    answering,
    change,
    in_slot,
    is_late,
    must_get,
    newest,
    of_delivery,
    of_version,
    remember_delivery,
    supersede_waiting,
)
from mlflow_dbimage.service.database import BUILDS
from mlflow_dbimage.service.events import Event

_WANTED = ("model", "version", "alias", "kind", "rule", "name", "request", "priority")


class Builds(BuildReader):
    """The table of builds, as those see it who change it.

    Every method raises ServiceError `database-failed` where the database does.
    """

    def request(self, event: Event, order: Order) -> tuple[Build, bool]:
        """Want a build for an event, and return it, and whether it is new.

        A delivery that came before, and a version that waits, runs or is shown in its slot already, get the
        build that there is. A version that was created before one that its slot has is superseded at once, and a
        name that another model has is a failure at once: so both can be seen.
        """

        def work(connection: Connection) -> tuple[Build, bool]:
            before = of_delivery(connection, event.delivery)
            if before is not None:
                return before, False
            slot = in_slot(order.rule, order.name)
            known = answering(connection, event, slot)
            build = known or self._add(connection, event, order)
            if known is not None or build.status == "queued":
                supersede_waiting(connection, build, self._clock())
            remember_delivery(connection, event, build)
            return build, known is None

        return self._database.change(work)

    def take(self, build_id: int, worker: str, lease: float) -> Build | None:
        """Begin a build for `lease` seconds, or return None where it may not be begun now.

        A build that waited for another try while a later one of its slot was wanted is superseded.
        """
        now = self._clock()
        values = {
            "status": "running",
            "worker": worker,
            "lease_until": now + lease,
            "started": now,
            "stage": "starting",
            "attempts": BUILDS.c.attempts + 1,
            "error_code": None,
            "error_text": None,
        }
        waiting = and_(BUILDS.c.id == build_id, BUILDS.c.status == "queued")

        def work(connection: Connection) -> Build | None:
            change(connection, and_(waiting, IS_OUTDATED), {"status": "superseded", "ended": now})
            may = and_(waiting, BUILDS.c.not_before <= now, ~SLOT_IS_BUSY, ~OLDER_GOES_FIRST)
            return next(iter(change(connection, may, values)), None)

        return self._database.change(work)

    def renew(self, build_id: int, worker: str, lease: float) -> Literal["held", "cancel", "lost"]:
        """Hold a build for further `lease` seconds; say whether it is to be cancelled, or is held no more."""
        held = self._update_held(build_id, worker, {"lease_until": self._clock() + lease})
        if held is None:
            return "lost"
        return "cancel" if held.cancelling else "held"

    def report_stage(self, build_id: int, worker: str, stage: str) -> bool:
        """Say what a build is at; False where the worker holds it no more."""
        return self._update_held(build_id, worker, {"stage": stage[:500]}) is not None

    def finish(self, build_id: int, worker: str, receipt: Mapping[str, Any]) -> Build | None:
        """End a build well, with the JSON form of its `BuildReceipt`; None where the worker holds it no more."""
        values = {
            "status": "built",
            "ended": self._clock(),
            "image": receipt["reference"],
            "digest": receipt["digest"],
            "sent_bytes": receipt["sent_size"],
            "receipt": dict(receipt),
        }
        return self._update_held(build_id, worker, {**values, **RELEASED})

    def fail(
        self, build_id: int, worker: str, code: str, text: str, *, retry_in: float | None = None
    ) -> Build | None:
        """End an attempt badly: it waits `retry_in` seconds, or has failed; None where it is held no more."""
        values: dict[str, Any] = {"error_code": code, "error_text": text, **RELEASED}
        if retry_in is None:
            return self._update_held(build_id, worker, {**values, "status": "failed", "ended": self._clock()})
        return self._queue_again(build_id, worker, {**values, "not_before": self._clock() + retry_in})

    def hand_back(self, build_id: int, worker: str) -> Build | None:
        """Give up a build that another worker shall begin anew; the attempt does not count."""
        values = {"attempts": BUILDS.c.attempts - 1, "started": None, **RELEASED}
        return self._queue_again(build_id, worker, values)

    def supersede(self, build_id: int, worker: str) -> Build | None:
        """End a build that nobody wants any more because its alias has moved on."""
        values = {"status": "superseded", "ended": self._clock(), **RELEASED}
        return self._update_held(build_id, worker, values)

    def cancel(self, build_id: int) -> Build:
        """End a build that waits; have the worker end one that runs. One that ended stays as it is.

        Raises:
            InputError: `build-not-found`.
        """

        def work(connection: Connection) -> Build:
            waiting = and_(BUILDS.c.id == build_id, BUILDS.c.status == "queued")
            running = and_(BUILDS.c.id == build_id, BUILDS.c.status == "running")
            change(connection, waiting, {"status": "cancelled", "ended": self._clock(), **RELEASED})
            change(connection, running, {"cancelling": True})
            return must_get(connection, build_id)

        return self._database.change(work)

    def cancelled(self, build_id: int, worker: str) -> Build | None:
        """End a build whose worker has stopped it because it was to be cancelled."""
        values = {"status": "cancelled", "ended": self._clock(), **RELEASED}
        return self._update_held(build_id, worker, values)

    def rerun(self, build_id: int) -> tuple[Build, bool]:
        """Want a build once more, as it was wanted; the same that waits or runs is returned instead.

        Raises:
            InputError: `build-not-found`.
        """

        def work(connection: Connection) -> tuple[Build, bool]:
            old = must_get(connection, build_id)
            same = and_(in_slot(old.rule, old.name), of_version(old.model, old.version))
            active = newest(connection, same, BUILDS.c.status.in_(ACTIVE))
            if active is not None:
                return active, False
            values = {key: getattr(old, key) for key in _WANTED}
            build = add(connection, {**values, "cause": f"rerun of build {old.id}"}, self._clock())
            supersede_waiting(connection, build, self._clock())
            return build, True

        return self._database.change(work)

    def release_lost(self, most_attempts: int) -> tuple[Build, ...]:
        """Queue again what runs without a lease; what was begun `most_attempts` times has failed. Return all."""
        now = self._clock()
        lost = and_(BUILDS.c.status == "running", BUILDS.c.lease_until < now)
        error = {
            "error_code": "worker-lost",
            "error_text": "the worker stopped without a word: it was killed, or its machine went down",
        }

        def work(connection: Connection) -> tuple[Build, ...]:
            given_up = and_(lost, BUILDS.c.attempts >= most_attempts)
            cancelled = and_(lost, BUILDS.c.cancelling)
            ended = {"ended": now, **RELEASED}
            return (
                *change(connection, cancelled, {"status": "cancelled", **ended}),
                *change(connection, given_up, {"status": "failed", **ended, **error}),
                *change(connection, lost, {"status": "queued", **RELEASED, **error}),
            )

        if not self._database.read(lambda connection: newest(connection, lost)):
            return ()  # the usual case takes no lock
        return self._database.change(work)

    def tell(self, build_id: int, status: Status) -> None:
        """Remember that the registry was told a build's status."""
        self._update(BUILDS.c.id == build_id, BUILDS.c.told != status, {"told": status})

    def _add(self, connection: Connection, event: Event, order: Order) -> Build:
        slot, now = in_slot(order.rule, order.name), self._clock()
        values: dict[str, Any] = {
            "model": event.model,
            "version": event.version,
            "alias": event.alias,
            "kind": event.kind,
            "rule": order.rule,
            "name": order.name,
            "request": dict(order.request),
            "cause": str(event),
            "priority": order.priority,
        }
        other = newest(connection, slot, BUILDS.c.model != event.model)
        if other is not None:
            text = f"the rule `{order.rule}` gives `{event.model}` and `{other.model}` one name: `{order.name}`"
            values |= {"status": "failed", "ended": now, "error_code": "bad-name", "error_text": text}
        elif is_late(connection, event, slot):
            values |= {"status": "superseded", "ended": now}
        return add(connection, values, now)

    def _queue_again(self, build_id: int, worker: str, values: Mapping[str, Any]) -> Build | None:
        """Have a build wait again, unless it is to be cancelled: then it is."""
        held = and_(BUILDS.c.id == build_id, BUILDS.c.status == "running", BUILDS.c.worker == worker)
        ended = {"status": "cancelled", "ended": self._clock(), **RELEASED}

        def work(connection: Connection) -> Build | None:
            cancelled = change(connection, and_(held, BUILDS.c.cancelling), ended)
            return next(iter(cancelled or change(connection, held, {**values, "status": "queued"})), None)

        return self._database.change(work)

    def _update_held(self, build_id: int, worker: str, values: Mapping[str, Any]) -> Build | None:
        held = and_(BUILDS.c.status == "running", BUILDS.c.worker == worker)
        return self._update(BUILDS.c.id == build_id, held, values)

    def _update(
        self, which: ColumnElement[bool], condition: ColumnElement[bool], values: Mapping[str, Any]
    ) -> Build | None:
        changed = self._database.change(lambda connection: change(connection, and_(which, condition), values))
        return changed[0] if changed else None
