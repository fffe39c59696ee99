"""The table of builds: each thing that may happen, in any order, and by many processes at once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.clock import FakeClock
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.service.build import Build, Order
from mlflow_dbimage.service.build_logs import LONGEST, BuildLogs
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import Database, open_database, sqlite_url
from mlflow_dbimage.service.events import Event, Kind

RECEIPT = {"reference": "host/m@sha256:1", "digest": "sha256:1", "sent_size": 12, "other": [1]}
CLONE = Path(__file__).resolve().parents[2]


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    database = open_database(sqlite_url(tmp_path / "data" / "builds.db"))
    yield database
    database.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def builds(database, clock) -> Builds:
    return Builds(database, clock)


def order(name: str = "m-champion", priority: int = 0) -> Order:
    return Order(rule="r", name=name, request={"model_uri": "models:/m/1", "config": {}}, priority=priority)


def event(version: int | str, kind: Kind = "alias-set", delivery: str | None = None, model: str = "m") -> Event:
    return Event(kind=kind, model=model, version=str(version), alias="champion", delivery=delivery, received=1.0)


def want(builds: Builds, version: int | str, kind: Kind = "alias-set", **others) -> Build:
    return builds.request(event(version, kind, **others), order())[0]


def statuses(builds: Builds) -> dict[int, str]:
    return {build.id: build.status for build in builds.find()}


def test_the_same_delivery_is_one_build_whatever_happened_since(builds):
    first, new = builds.request(event(1, delivery="d"), order())
    assert new and first.status == "queued" and first.cause == "alias champion set on m version 1"
    builds.cancel(first.id)
    again, new = builds.request(event(1, delivery="d"), order())
    assert (again.id, again.status, new) == (first.id, "cancelled", False)


def test_a_version_that_waits_or_runs_or_is_shown_is_one_build(builds):
    first = want(builds, 1, delivery="a")
    assert want(builds, 1, delivery="b").id == first.id
    assert builds.take(first.id, "w", 60) is not None
    assert want(builds, 1).id == first.id
    builds.finish(first.id, "w", RECEIPT)
    assert want(builds, 1).id == first.id
    assert want(builds, 1, delivery="b").id == first.id


def test_a_created_version_is_one_build_whatever_its_slot_makes_by_now(builds):
    first, second = want(builds, 2, "version-created"), want(builds, 3, "version-created")
    builds.take(first.id, "w", 60)
    builds.finish(first.id, "w", RECEIPT)
    builds.take(second.id, "w", 60)
    late = want(builds, 1, "version-created")
    assert late.status == "superseded"
    for version, build in ((2, first), (3, second), (1, late)):
        assert want(builds, version, "version-created", delivery=f"again-{version}").id == build.id
    builds.fail(second.id, "w", "unsolvable", "x")
    builds.rerun(first.id)
    assert want(builds, 3, "version-created").id not in (first.id, second.id, late.id)  # it failed
    assert len(builds.find()) == 5


def test_a_version_that_failed_is_wanted_again(builds):
    first = want(builds, 1)
    builds.take(first.id, "w", 60)
    builds.fail(first.id, "w", "unsolvable", "no")
    assert want(builds, 1).id != first.id


def test_an_alias_that_moves_twice_builds_the_last(builds):
    first, second, third = (want(builds, version) for version in (1, 2, 3))
    assert statuses(builds) == {first.id: "superseded", second.id: "superseded", third.id: "queued"}


def test_an_alias_that_moves_during_a_build_is_built_after_it(builds):
    first = want(builds, 1)
    builds.take(first.id, "w", 60)
    second = want(builds, 2)
    assert builds.take(second.id, "v", 60) is None
    assert builds.due() == ()
    builds.finish(first.id, "w", RECEIPT)
    assert builds.due() == (builds.get(second.id),)
    assert builds.take(second.id, "v", 60).status == "running"


def test_an_alias_that_moves_back_needs_no_further_build(builds):
    first = want(builds, 1)
    builds.take(first.id, "w", 60)
    builds.finish(first.id, "w", RECEIPT)
    second = want(builds, 2)
    assert want(builds, 1).id == first.id
    assert builds.get(second.id).status == "superseded"


def test_an_alias_that_moves_back_while_the_other_is_built_is_built_again(builds):
    first = want(builds, 1)
    builds.take(first.id, "w", 60)
    builds.finish(first.id, "w", RECEIPT)
    second = want(builds, 2)
    builds.take(second.id, "w", 60)
    third = want(builds, 1)
    assert third.id not in (first.id, second.id) and third.status == "queued"


def test_what_failed_for_a_while_is_superseded_by_what_was_wanted_later(builds, clock):
    first = want(builds, 1)
    builds.take(first.id, "w", 60)
    second = want(builds, 2)
    builds.fail(first.id, "w", "registry-failed", "down", retry_in=5)
    builds.take(second.id, "w", 60)
    builds.finish(second.id, "w", RECEIPT)
    clock.advance(6)
    assert builds.take(first.id, "w", 60) is None
    assert builds.get(first.id).status == "superseded"


def test_created_versions_are_all_built_in_their_order(builds):
    second, first = want(builds, 2, "version-created"), want(builds, 1, "version-created")
    assert [build.id for build in builds.due()] == [first.id]
    assert builds.take(second.id, "w", 60) is None
    for build in (first, second):
        assert builds.take(build.id, "w", 60).id == build.id
        builds.finish(build.id, "w", RECEIPT)
    assert set(statuses(builds).values()) == {"built"}


def test_a_created_version_that_is_told_late_does_not_take_the_name_back(builds):
    second = want(builds, 2, "version-created")
    builds.take(second.id, "w", 60)
    assert want(builds, 1, "version-created").status == "superseded"


def test_a_created_version_that_failed_for_a_while_does_not_take_the_name_back(builds, clock):
    second, first = want(builds, 2, "version-created"), want(builds, 1, "version-created")
    builds.take(first.id, "w", 60)
    builds.fail(first.id, "w", "registry-failed", "down", retry_in=5)
    builds.take(second.id, "w", 60)
    builds.finish(second.id, "w", RECEIPT)
    clock.advance(6)
    assert builds.take(first.id, "w", 60) is None
    assert builds.get(first.id).status == "superseded"
    clock.advance(1)
    again, _ = builds.rerun(first.id)  # somebody wants it nevertheless
    assert builds.take(again.id, "w", 60) is not None


def test_two_models_cannot_have_one_name(builds):
    first = want(builds, 1)
    other = want(builds, 1, model="M")
    assert (other.status, other.error_code) == ("failed", "bad-name")
    assert "`M` and `m` one name: `m-champion`" in other.error_text
    assert builds.get(first.id).status == "queued"


def test_taking_renewing_and_losing_a_lease(builds, clock):
    build = want(builds, 1)
    taken = builds.take(build.id, "w", 60)
    assert (taken.worker, taken.attempts, taken.lease_until) == ("w", 1, clock() + 60)
    assert builds.take(build.id, "v", 60) is None
    clock.advance(50)
    assert builds.renew(build.id, "w", 60) == "held"
    assert builds.renew(build.id, "v", 60) == "lost"
    clock.advance(59)
    assert builds.release_lost(9) == ()
    clock.advance(2)
    (lost,) = builds.release_lost(9)
    assert (lost.status, lost.worker, lost.error_code) == ("queued", None, "worker-lost")
    assert builds.renew(build.id, "w", 60) == "lost"
    assert builds.finish(build.id, "w", RECEIPT) is None
    assert builds.take(build.id, "v", 60).attempts == 2


def test_what_was_lost_too_often_has_failed(builds, clock):
    build = want(builds, 1)
    for attempt in range(1, 4):
        builds.take(build.id, "w", 60)
        clock.advance(61)
        (lost,) = builds.release_lost(3)
        assert lost.attempts == attempt
    assert lost.status == "failed"


def test_a_retry_waits(builds, clock):
    build = want(builds, 1)
    builds.take(build.id, "w", 60)
    waiting = builds.fail(build.id, "w", "registry-failed", "down", retry_in=10)
    assert (waiting.status, waiting.error_code, waiting.ended) == ("queued", "registry-failed", None)
    assert builds.due() == () and builds.take(build.id, "w", 60) is None
    clock.advance(10)
    assert [due.id for due in builds.due()] == [build.id]
    assert builds.take(build.id, "w", 60).error_code is None


def test_handing_back_does_not_count(builds):
    build = want(builds, 1)
    builds.take(build.id, "w", 60)
    back = builds.hand_back(build.id, "w")
    assert (back.status, back.attempts, back.started) == ("queued", 0, None)


def test_cancelling(builds, clock):
    waiting = want(builds, 1)
    assert builds.cancel(waiting.id).status == "cancelled"
    running = want(builds, 2)
    builds.take(running.id, "w", 60)
    assert builds.cancel(running.id).cancelling
    assert builds.renew(running.id, "w", 60) == "cancel"
    assert builds.cancelled(running.id, "w").status == "cancelled"
    assert builds.cancel(running.id).status == "cancelled"


def test_a_build_that_is_to_be_cancelled_is_so_when_its_worker_is_lost(builds, clock):
    build = want(builds, 1)
    builds.take(build.id, "w", 60)
    builds.cancel(build.id)
    clock.advance(61)
    (lost,) = builds.release_lost(9)
    assert (lost.status, lost.error_code) == ("cancelled", None)


def test_a_build_that_is_to_be_cancelled_does_not_wait_again(builds):
    for end in (
        lambda build: builds.hand_back(build.id, "w"),
        lambda build: builds.fail(build.id, "w", "registry-failed", "down", retry_in=5),
    ):
        build = want(builds, 1)
        builds.take(build.id, "w", 60)
        builds.cancel(build.id)
        assert end(build).status == "cancelled"


def test_a_rerun_is_a_new_build_of_the_same(builds):
    build = want(builds, 1)
    assert builds.rerun(build.id) == (build, False)
    builds.take(build.id, "w", 60)
    builds.finish(build.id, "w", RECEIPT)
    again, new = builds.rerun(build.id)
    assert new and again.id != build.id and again.cause == f"rerun of build {build.id}"
    assert (again.request, again.name, again.model) == (build.request, build.name, build.model)


def test_what_is_finished_has_its_receipt(builds):
    build = want(builds, 1)
    builds.take(build.id, "w", 60)
    builds.report_stage(build.id, "w", "packing")
    assert builds.get(build.id).stage == "packing"
    done = builds.finish(build.id, "w", RECEIPT)
    assert (done.image, done.digest, done.sent_bytes) == ("host/m@sha256:1", "sha256:1", 12)
    assert done.receipt == RECEIPT and done.stage == "" and done.worker is None
    assert done.to_dict()["ended"].endswith("Z")


def test_urgent_builds_come_first(builds):
    plain, urgent = (
        builds.request(event(1, model=name), order(name, priority))[0]
        for name, priority in (("plain", 0), ("urgent", 5))
    )
    assert [build.id for build in builds.due()] == [urgent.id, plain.id]


def test_finding_and_counting(builds):
    made = [builds.request(event(1, model=f"m{number}"), order(f"m{number}"))[0].id for number in range(5)]
    builds.cancel(made[0])
    assert [build.id for build in builds.find(limit=2)] == [made[4], made[3]]
    assert [build.id for build in builds.find(limit=2, before=made[3])] == [made[2], made[1]]
    assert [build.id for build in builds.find(status=["cancelled"])] == [made[0]]
    assert [build.id for build in builds.find(model="m2", version="1", rule="r", name="m2")] == [made[2]]
    assert builds.find(model="m2", version="2") == ()
    assert builds.counts() == {"queued": 4, "cancelled": 1}
    with pytest.raises(InputError, match="there is no build 99"):
        builds.get(99)


def test_what_is_known(builds):
    first = want(builds, 1)
    assert builds.known(event(1), order())
    assert not builds.known(event(2), order())
    want(builds, 2)
    assert builds.get(first.id).status == "superseded"
    assert not builds.known(event(1), order())  # its alias would have moved back
    created = Order(rule="all", name="m", request={})
    builds.request(event(1, "version-created"), created)
    builds.request(event(2, "version-created"), created)
    assert builds.known(event(1, "version-created"), created)


def test_what_the_registry_was_told(builds):
    build = want(builds, 1)
    assert [each.id for each in builds.untold()] == [build.id]
    builds.tell(build.id, "queued")
    assert builds.untold() == ()
    builds.take(build.id, "w", 60)
    assert [each.id for each in builds.untold()] == [build.id]


def test_logs_grow_and_are_cut(builds, database):
    logs, build = BuildLogs(database), want(builds, 1)
    logs.append(build.id, "one\n")
    part = logs.read(build.id)
    logs.append(build.id, "two\n")
    assert part.text == "one\n"
    assert logs.read(build.id, part.after).text == "two\n"
    logs.append(build.id, "x" * LONGEST)
    logs.append(build.id, "more\n")
    assert logs.read(build.id).text.endswith("x\n[the log is cut here]\n")
    assert len(logs.read(build.id).text) == LONGEST + len("\n[the log is cut here]\n")


ENDS = ["finish", "fail", "retry", "back", "cancel"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order, a slot has one running build, and every build ends or waits."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.database = open_database("sqlite://")
        self.builds = Builds(self.database, self.clock)
        self.held: set[tuple[int, str]] = set()
        self.handed_back = 0

    def teardown(self) -> None:
        self.database.close()

    ids = st.integers(1, 12)
    workers = st.sampled_from(["w", "v"])

    @rule(
        version=st.integers(1, 3),
        kind=st.sampled_from(["alias-set", "version-created"]),
        delivery=st.none() | st.sampled_from(["a", "b"]),
    )
    def request(self, version, kind, delivery):
        wanted = Order(rule=kind, name="m", request={})
        build, _ = self.builds.request(event(version, kind, delivery and f"{delivery}-{version}-{kind}"), wanted)
        assert (build.model, build.version, build.rule) == ("m", str(version), kind)
        if kind == "alias-set" and delivery is None:
            later = [each for each in self.builds.find(rule=kind) if each.id > build.id]
            assert not [each for each in later if each.status == "queued"]

    @rule(build_id=ids, worker=workers)
    def take(self, build_id, worker):
        taken = self.builds.take(build_id, worker, 60)
        if taken is not None:
            assert (taken.status, taken.worker) == ("running", worker)
            self.held.add((build_id, worker))

    @precondition(lambda self: self.held)
    @rule(pick=st.randoms(use_true_random=False), end=st.sampled_from(ENDS))
    def end(self, pick, end):
        build_id, worker = pick.choice(sorted(self.held))
        before = self.builds.get(build_id)
        ended = {
            "finish": lambda: self.builds.finish(build_id, worker, RECEIPT),
            "fail": lambda: self.builds.fail(build_id, worker, "unsolvable", "x"),
            "retry": lambda: self.builds.fail(build_id, worker, "registry-failed", "x", retry_in=30),
            "back": lambda: self.builds.hand_back(build_id, worker),
            "cancel": lambda: self.builds.cancelled(build_id, worker),
        }[end]()
        assert (ended is not None) == (before.status == "running" and before.worker == worker)
        self.handed_back += end == "back" and ended is not None
        self.held.discard((build_id, worker))

    @rule(build_id=ids)
    def cancel_or_rerun(self, build_id):
        if self.builds.find(before=build_id + 1, limit=1) and build_id <= self.builds.find(limit=1)[0].id:
            self.builds.cancel(build_id)
            self.builds.rerun(build_id)

    @rule(seconds=st.sampled_from([1, 31, 61]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        for lost in self.builds.release_lost(3):
            assert lost.worker is None

    @invariant()
    def slots_have_one_running_build_and_states_are_whole(self):
        found = self.builds.find(limit=1000)
        running = Counter(build.rule for build in found if build.status == "running")
        assert all(count == 1 for count in running.values())
        for build in found:
            assert (build.worker is not None) == (build.status == "running") == (build.lease_until is not None)
            assert (build.ended is not None) == (not build.active)
            assert build.status == "running" or not build.cancelling
            assert (build.receipt is not None) == (build.status == "built")
        aliases = Counter(build.rule for build in found if build.status == "queued" and not build.attempts)
        # One that was handed back is superseded when it is taken, not when it begins to wait again.
        again = self.handed_back + sum(build.cause.startswith("rerun") for build in found)
        assert aliases["alias-set"] <= 1 + again


TestAnyOrder = AnyOrder.TestCase
# Thirty steps can be read as they are; to find the fewest that fail would take minutes.
_NOT_SHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, phases=_NOT_SHRUNK)

PROCESS = """
import sys
from mlflow_dbimage.service.build import Order
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import open_database
from mlflow_dbimage.service.events import Event

builds, me = Builds(open_database(sys.argv[1])), sys.argv[2]
for number in range(int(sys.argv[3])):
    version = str(number % 10 + 1)
    event = Event(kind="version-created", model="m", version=version, delivery=f"{me}-{number}", received=1.0)
    build, new = builds.request(event, Order(rule="r", name=f"m-{version}", request={}))
    if new:
        print("new", version)
    for due in builds.due():
        if builds.take(due.id, me, 60):
            print("taken", due.version)
            assert builds.finish(due.id, me, {"reference": "x", "digest": "y", "sent_size": 0})
"""


def rivals(url: str, events: int) -> Counter[str]:
    """Have four processes want and make the same builds, each by so many events, and return what they did."""
    command = [sys.executable, "-c", PROCESS, url]
    processes = [
        subprocess.Popen([*command, f"p{number}", str(events)], stdout=subprocess.PIPE, text=True, cwd=CLONE)
        for number in range(4)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    return Counter(line for output in outputs for line in output.splitlines())


def test_a_thousand_events_of_ten_versions_by_four_processes_are_ten_builds(tmp_path):
    said = rivals(sqlite_url(tmp_path / "builds.db"), 250)
    assert said == {f"{word} {version}": 1 for word in ("new", "taken") for version in range(1, 11)}


@pytest.mark.postgresql
def test_many_events_of_ten_versions_are_ten_builds_in_postgresql(postgresql):
    said = rivals(postgresql.new_database(), 60)
    assert said == {f"{word} {version}": 1 for word in ("new", "taken") for version in range(1, 11)}


@pytest.mark.postgresql
def test_what_may_happen_in_postgresql(postgresql, clock):
    database = open_database(postgresql.new_database())
    builds = Builds(database, clock)
    first = want(builds, 1, delivery="a")
    assert builds.take(first.id, "w", 60).status == "running"
    second = want(builds, 2)
    assert builds.take(second.id, "w", 60) is None
    assert builds.finish(first.id, "w", RECEIPT).receipt == RECEIPT
    assert builds.take(second.id, "w", 60).attempts == 1
    clock.advance(61)
    assert [each.id for each in builds.release_lost(9)] == [second.id]
    assert builds.rerun(first.id)[1]
    BuildLogs(database).append(first.id, "line\n")
    assert BuildLogs(database).read(first.id).text == "line\n"
    database.close()
