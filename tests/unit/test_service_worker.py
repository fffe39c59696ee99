"""A worker's turns: what it begins, hears, holds, loses, tries again, and gives back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fakes.build_processes import FakeProcess, FakeStarter
from fakes.clock import FakeClock
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_logs import BuildLogs
from mlflow_dbimage.service.build_process import Done, Failed, Lines, Moved, Naming, Stage
from mlflow_dbimage.service.build_queue import open_queue
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import open_database, sqlite_url
from mlflow_dbimage.service.events import Event
from mlflow_dbimage.service.intake import Service, take_in
from mlflow_dbimage.service.rules import read
from mlflow_dbimage.service.running_build import Limits
from mlflow_dbimage.service.worker import Worker

RECEIPT = {"reference": "host/m@sha256:1", "digest": "sha256:1", "sent_size": 12}
LIMITS = Limits(builds=1, lease=60, timeout=600, attempts=3, retry=10, grace=0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(tmp_path, clock) -> Iterator[Service]:
    database = open_database(sqlite_url(tmp_path / "builds.db"))
    service = Service(
        rules=read([{"name": "r", "on": "alias-set"}]),
        database=database,
        builds=Builds(database, clock),
        logs=BuildLogs(database),
        queue=open_queue(None, tmp_path / "queue.db"),
    )
    yield service
    service.close()


class Scene:
    """A worker, and what it started and said."""

    def __init__(self, service: Service, clock: FakeClock, limits: Limits = LIMITS) -> None:
        self.service, self.starter, self.said = service, FakeStarter(), []
        self.worker = Worker(service, self.starter, limits, self.said.append, clock)

    def want(self, model: str = "m") -> Build:
        event = Event(kind="alias-set", model=model, version="1", alias="champion", received=1.0)
        build = take_in(event, self.service).build
        assert build is not None
        return build

    def begin(self, model: str = "m") -> FakeProcess:
        """Want a build, and have the worker begin it."""
        self.want(model)
        self.worker.turn()
        return self.starter.started[-1]

    def now(self, process: FakeProcess) -> Build:
        return self.service.builds.get(process.build.id)

    def log(self, process: FakeProcess) -> str:
        return self.service.logs.read(process.build.id).text


@pytest.fixture
def scene(service, clock) -> Scene:
    return Scene(service, clock)


def test_a_build_from_queue_to_image(scene):
    process = scene.begin()
    assert scene.now(process).status == "running"
    process.say(Stage(text="downloading"), Lines(text="a line\n"), Stage(text="packing"))
    scene.worker.turn()
    assert scene.now(process).stage == "packing"
    process.say(Lines(text="last\n"), Done(receipt=RECEIPT), end=True)
    scene.worker.turn()
    assert (scene.now(process).status, scene.now(process).image) == ("built", "host/m@sha256:1")
    assert scene.log(process).endswith("a line\nlast\n")
    assert scene.said[-1] == f"build {process.build.id} built: host/m@sha256:1"


def test_an_image_is_named_when_the_lease_is_fresh(scene):
    process = scene.begin()
    scene.worker.turn()
    assert not process.allowed
    process.say(Naming())
    scene.worker.turn()
    assert process.allowed and not process.stopped


@pytest.mark.parametrize("why", ["lost", "cancelled"])
def test_an_image_that_nobody_wants_any_more_is_not_named(scene, clock, why):
    process = scene.begin()
    if why == "lost":  # this worker was paused for so long that another has the build
        clock.advance(61)
        scene.service.builds.release_lost(3)
        assert scene.service.builds.take(process.build.id, "another", 60) is not None
    else:
        scene.service.builds.cancel(process.build.id)
    process.say(Naming())
    scene.worker.turn()
    assert process.stopped and not process.allowed


def test_no_more_builds_than_allowed(service, clock):
    scene = Scene(service, clock, Limits(builds=2, lease=60, timeout=600, attempts=3, retry=10, grace=0))
    for model in ("a", "b", "c"):
        scene.want(model)
    scene.worker.turn()
    assert [process.build.model for process in scene.starter.started] == ["a", "b"]
    scene.starter.started[0].say(Done(receipt=RECEIPT), end=True)
    scene.worker.turn()
    assert [process.build.model for process in scene.starter.started] == ["a", "b", "c"]


def test_what_may_pass_is_tried_again_later_and_later_but_not_for_ever(scene, clock):
    waits = []
    for attempt in (1, 2, 3):
        process = scene.begin() if attempt == 1 else scene.starter.started[-1]
        assert process.build.attempts == attempt
        process.say(Failed(code="registry-failed", text="the registry is down", may_pass=True), end=True)
        scene.worker.turn()
        now = scene.now(process)
        assert now.error_code == "registry-failed"
        if now.status == "queued":
            waits.append(now.not_before - clock())
            clock.advance(waits[-1] + 5)
            scene.worker.turn()
    assert now.status == "failed"
    assert len(scene.starter.started) == 3
    assert 8 <= waits[0] <= 12 and 16 <= waits[1] <= 24
    assert "error: the registry is down [registry-failed]; the next try is in" in scene.log(process)


def test_what_cannot_pass_fails_at_once(scene):
    process = scene.begin()
    process.say(Failed(code="unsolvable", text="no", may_pass=False), end=True)
    scene.worker.turn()
    assert (scene.now(process).status, scene.now(process).attempts) == ("failed", 1)


def test_a_process_that_dies_without_a_word_is_tried_again(scene):
    process = scene.begin()
    process.say(end=True)
    scene.worker.turn()
    assert (scene.now(process).status, scene.now(process).error_code) == ("queued", "worker-lost")


def test_a_build_that_is_not_wanted_any_more(scene):
    process = scene.begin()
    process.say(Moved(text="the alias is on version 2"), end=True)
    scene.worker.turn()
    assert scene.now(process).status == "superseded"
    assert "the alias is on version 2\n" in scene.log(process)


def test_leases_are_held(scene, clock):
    process = scene.begin()
    for _ in range(5):
        clock.advance(50)
        scene.worker.turn()
    assert scene.now(process).status == "running"


def test_a_build_that_was_given_to_another_is_stopped_and_not_touched(scene, service, clock):
    process = scene.begin()
    clock.advance(61)
    service.builds.release_lost(9)
    service.builds.take(process.build.id, "other", 60)
    scene.worker.turn()
    assert process.stopped
    scene.worker.turn()
    assert (scene.now(process).status, scene.now(process).worker) == ("running", "other")


def test_cancelling_stops_the_process(scene, service, clock):
    process = scene.begin()
    service.builds.cancel(process.build.id)
    clock.advance(2)
    scene.worker.turn()
    assert process.stopped
    scene.worker.turn()
    assert scene.now(process).status == "cancelled"


def test_a_build_that_is_made_before_it_can_be_cancelled_is_made(scene, service, clock):
    process = scene.begin()
    service.builds.cancel(process.build.id)
    process.say(Done(receipt=RECEIPT), end=True)
    scene.worker.turn()
    assert scene.now(process).status == "built"


def test_a_build_that_takes_too_long_is_stopped_for_good(scene, clock):
    process = scene.begin()
    for _ in range(11):
        clock.advance(59)
        scene.worker.turn()
    assert process.stopped
    scene.worker.turn()
    assert (scene.now(process).status, scene.now(process).error_code) == ("failed", "build-timeout")
    assert "longer than 600 seconds" in scene.now(process).error_text


def test_a_process_that_cannot_be_started(scene):
    scene.starter.error = ServiceError("program-failed", "no memory")
    build = scene.want()
    scene.worker.turn()
    assert scene.service.builds.get(build.id).error_text == "no memory"


def test_another_workers_lost_build_is_taken_over(scene, service, clock):
    build = scene.want()
    service.builds.take(build.id, "dead", 60)
    scene.worker.turn()
    assert scene.starter.started == []
    clock.advance(61)
    scene.worker.turn()
    assert [process.build.attempts for process in scene.starter.started] == [2]
    assert f"build {build.id} was lost by its worker, and is queued" in scene.said


def test_what_waits_without_a_message_is_found(scene, service):
    scene.want()
    assert service.queue.receive() is not None
    scene.worker.turn()
    assert len(scene.starter.started) == 1


def test_what_waited_for_its_name_does_not_wait_for_the_whole_queue(scene, service):
    first = scene.begin("m")
    moved = Event(kind="alias-set", model="m", version="2", alias="champion", received=1.0)
    later = take_in(moved, service).build
    assert later is not None
    assert service.queue.receive() == later.id  # another worker dropped it: its name is busy
    for model in ("a", "b"):
        scene.want(model)
    first.say(Done(receipt=RECEIPT), end=True)
    scene.worker.turn()
    scene.starter.started[-1].say(Done(receipt=RECEIPT), end=True)
    waiting = [service.queue.receive() for _ in range(service.queue.size())]
    assert later.id in waiting


class AwayQueue:
    """A queue that cannot be reached."""

    def _fail(self, *_: object) -> None:
        raise ServiceError("queue-failed", "the queue is away")

    send = receive = size = _fail

    def close(self) -> None:
        """Nothing is open."""


def test_a_queue_that_is_away_stops_nothing(service, clock):
    away = Service(
        rules=service.rules,
        database=service.database,
        builds=service.builds,
        logs=service.logs,
        queue=AwayQueue(),
    )
    scene = Scene(away, clock)
    process = scene.begin()
    process.say(Done(receipt=RECEIPT), end=True)
    scene.worker.turn()
    assert scene.now(process).status == "built"
    clock.advance(6)
    scene.worker.turn()  # it sweeps again
    assert scene.said.count("the queue is away") == 1


def test_a_database_that_is_away_for_a_while_loses_nothing(scene, service, monkeypatch):
    process = scene.begin()
    process.say(Lines(text="said meanwhile\n"), Done(receipt=RECEIPT), end=True)

    def away(*_: object) -> None:
        raise ServiceError("database-failed", "away")

    with monkeypatch.context() as patch:
        patch.setattr(type(service.database), "change", away)
        for _ in range(3):
            with pytest.raises(ServiceError):
                scene.worker.turn()
    scene.worker.turn()
    assert scene.now(process).status == "built"
    assert scene.log(process).count("said meanwhile\n") == 1


@pytest.mark.postgresql
def test_connections_that_postgresql_cuts_as_it_restarts_are_made_anew(postgresql, tmp_path, clock):
    psycopg = pytest.importorskip("psycopg")
    url = postgresql.new_database()
    database = open_database(url)
    queue = open_queue(None, tmp_path / "queue.db")
    rules = read([{"name": "r", "on": "alias-set"}])
    service = Service(
        rules=rules, database=database, builds=Builds(database, clock), logs=BuildLogs(database), queue=queue
    )
    scene = Scene(service, clock)
    process = scene.begin()
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(url) as connection:
        assert connection.execute(cut).fetchone()[0] >= 1
    process.say(Lines(text="a line\n"), Naming())
    scene.worker.turn()
    assert process.allowed
    process.say(Done(receipt=RECEIPT), end=True)
    scene.worker.turn()
    assert scene.now(process).status == "built"
    assert "a line" in scene.log(process)
    service.close()


def test_a_worker_that_is_told_to_stop_hands_back(scene, service):
    process = scene.begin()
    stop = threading.Event()
    stop.set()
    scene.worker.run(stop)
    assert process.stopped
    assert (scene.now(process).status, scene.now(process).attempts) == ("queued", 0)
    assert service.queue.receive() == process.build.id


def test_what_is_just_made_is_not_handed_back(scene, service, monkeypatch):
    process = scene.begin()
    monkeypatch.setattr(process, "stop", lambda: process.say(Done(receipt=RECEIPT), end=True))
    stop = threading.Event()
    stop.set()
    scene.worker.run(stop)
    assert scene.now(process).status == "built"
