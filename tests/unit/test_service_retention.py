"""What the table forgets, and what it must not."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from fakes.clock import FakeClock
from mlflow_dbimage.service.build import Order
from mlflow_dbimage.service.build_logs import BuildLogs
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import DELIVERIES, LOGS, open_database, sqlite_url
from mlflow_dbimage.service.events import Event
from mlflow_dbimage.service.retention import prune

DAY = 86400
RECEIPT = {"reference": "host/m@sha256:1", "digest": "sha256:1", "sent_size": 12}


@pytest.fixture
def database(tmp_path):
    database = open_database(sqlite_url(tmp_path / "builds.db"))
    yield database
    database.close()


def event(version: int) -> Event:
    return Event(kind="version-created", model="m", version=str(version), delivery=f"d-{version}", received=1.0)


def rows(database, table) -> int:
    return database.read(lambda connection: connection.scalar(select(func.count()).select_from(table)))


def test_old_logs_and_deliveries_go_and_builds_stay(database):
    clock = FakeClock()
    builds, logs = Builds(database, clock), BuildLogs(database)
    order = Order(rule="r", name="m", request={})
    for version in range(1, 251):  # more than a transaction takes
        build, _ = builds.request(event(version), order)
        logs.append(build.id, "a line\n")
        builds.take(build.id, "w", 60)
        builds.finish(build.id, "w", RECEIPT)
        builds.tell(build.id, "built")
    clock.advance(DAY)
    untold, _ = builds.request(event(251), order)
    builds.cancel(untold.id)
    clock.advance(89 * DAY - 1)
    assert prune(database, 90, clock()) == 0
    clock.advance(2)
    assert prune(database, 90, clock()) == 250
    assert (rows(database, LOGS), rows(database, DELIVERIES)) == (0, 1)
    assert builds.counts() == {"built": 250, "cancelled": 1}
    assert builds.known(event(7), order)
    assert builds.request(event(7), order)[1] is False  # told again, it is no build
    clock.advance(89 * DAY)
    assert prune(database, 90, clock()) == 1  # the delivery of version 7
    builds.tell(untold.id, "cancelled")
    assert prune(database, 90, clock()) == 1
    assert prune(database, 90, clock()) == 0


def test_what_waits_or_runs_keeps_its_log_however_old(database):
    clock = FakeClock()
    builds, logs = Builds(database, clock), BuildLogs(database)
    build, _ = builds.request(event(1), Order(rule="r", name="m", request={}))
    logs.append(build.id, "a line\n")
    builds.tell(build.id, "queued")
    clock.advance(1000 * DAY)
    assert prune(database, 1, clock()) == 0
    builds.take(build.id, "w", 60)
    builds.tell(build.id, "running")
    assert prune(database, 1, clock()) == 0
    assert logs.read(build.id).text == "a line\n"
