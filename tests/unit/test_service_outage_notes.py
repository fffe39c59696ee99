"""What is told of outages: each begin and each end once."""

from __future__ import annotations

import threading

import pytest

from fakes.clock import FakeClock
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.service.outage_notes import OutageNotes

AWAY = ServiceError("database-failed", "the service's database failed: no route")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def notes(said, clock) -> OutageNotes:
    return OutageNotes(said.append, clock)


def test_an_outage_is_told_when_it_begins_and_when_it_ends(notes, said, clock):
    notes.over("database-failed")
    for _ in range(5):
        notes.met(AWAY)
        clock.advance(2)
    notes.met(ServiceError("store-failed", "MLflow does not answer"))
    notes.over("database-failed")
    notes.over("database-failed")
    notes.met(AWAY)
    assert said == [
        AWAY.message,
        "MLflow does not answer",
        "the service's database is back, after 10 s",
        AWAY.message,
    ]


def test_what_is_no_outage_is_told_each_time(notes, said):
    for _ in range(2):
        notes.met(ServiceError("program-failed", "no memory"))
    assert said == ["no memory"] * 2


def test_threads_that_meet_the_same_outage_tell_it_once(notes, said):
    threads = [threading.Thread(target=notes.met, args=(AWAY,)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert said == [AWAY.message]
