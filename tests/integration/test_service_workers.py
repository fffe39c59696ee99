"""Events become images: real workers, a real MLflow server, and what kills either of them."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pytest

from fakes.clock import FakeClock
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.service.builds import Builds
from service_bench import (
    ServiceBench,
    children,
    created_event,
    only_image,
    register,
    tags_of,
    take_all,
    until,
    until_status,
)
from services.ports import free_port
from services.redis_server import redis_server
from services.registry_server import registry_server

pytestmark = [pytest.mark.slow, pytest.mark.channel]


def tags(bench: ServiceBench) -> list[str]:
    """Return the tags in the destination: of images, and of what is attached to them before they are named."""
    target = bench.bench.target
    return list(Layout(target).tags()) if (target / "index.json").exists() else []


def test_an_alias_becomes_an_image_and_the_registry_says_so(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "told", place / "model")
    service = opened(bench)
    with bench.worker():
        (taken,) = take_all(service, bench.alias_event("told", version))
        built = until_status(service, taken.build, "built", bench.said)
        tags = lambda: tags_of(bench.tracking_uri, "told", version)  # noqa: E731
        until(lambda: tags().get("dbimage_status") == "built", say=bench.said)
    image = only_image(bench, "told-champion")
    assert built.digest == str(image.digest)
    assert tags() == {
        "dbimage_status": "built",
        "dbimage_image": built.image,
        "dbimage_digest": built.digest,
    }
    assert "attempt 1 by worker" in service.logs.read(built.id).text
    client = mlflow.MlflowClient(bench.tracking_uri, bench.tracking_uri)
    run = client.get_model_version("told", version).run_id
    kept = [each.path for each in client.list_artifacts(run, f"dbimage/build-{built.id}")]
    assert [Path(path).name for path in kept] == ["build.json", "build.log"]
    assert built.attempts == 1 and built.receipt["record"]["model_uri"] == f"models:/told/{version}"


def test_reconcile_finds_what_no_event_told(new_bench, opened, place):
    bench = new_bench()
    service = opened(bench)
    version = register(bench.tracking_uri, "untold", place / "model")
    created = register(bench.tracking_uri, "each-untold", place / "model", alias=None)
    done = bench.run("reconcile", "--once", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {(each["model"], each["version"]) for each in found["queued"]} >= {
        ("untold", version),
        ("each-untold", created),
    }
    assert found["requests"] == 2
    again = json.loads(bench.run("reconcile", "--once", "--json").stdout)
    assert again["queued"] == [] and again["seen"] >= 2
    mine = [build for build in service.builds.find(status=["queued"]) if "untold" in build.model]
    for build in service.builds.find(status=["queued"]):
        if build not in mine:
            service.builds.cancel(build.id)  # of models of other tests
    with bench.worker():
        for build in mine:
            until_status(service, build, "built", bench.said)
    only_image(bench, "untold-champion")
    only_image(bench, "each-untold")


def test_a_worker_looks_at_the_registry_by_itself(new_bench, opened, place):
    bench = new_bench(rules=[{"name": "own", "on": "alias-set", "alias": "looked-for"}])
    service = opened(bench)
    with bench.worker(DBIMAGE_RECONCILE_EVERY="1"):
        register(bench.tracking_uri, "looked", place / "model", alias="looked-for")
        build = until(lambda: service.builds.find(model="looked"), say=bench.said)[0]
        built = until_status(service, build, "built", bench.said)
    assert f"build {built.id} is queued, which no event told: `looked-looked-for`" in bench.said()
    assert str(only_image(bench, "looked-looked-for").digest) == built.digest


def test_a_killed_build_is_made_by_the_next_attempt(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "killed", place / "model")
    service = opened(bench)
    with bench.worker() as worker:
        (taken,) = take_all(service, bench.alias_event("killed", version))
        (child,) = until(lambda: children(worker.pid), say=bench.said)
        os.kill(child, signal.SIGKILL)
        built = until_status(service, taken.build, "built", bench.said)
    assert built.attempts == 2
    assert "ended without a word" in service.logs.read(built.id).text
    only_image(bench, "killed-champion")


def test_a_killed_worker_loses_its_lease_and_its_builds(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "orphan", place / "model")
    service = opened(bench)
    with bench.worker() as worker:
        (taken,) = take_all(service, bench.alias_event("orphan", version))
        (child,) = until(lambda: children(worker.pid), say=bench.said)
        worker.kill()
        worker.wait()
        until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())
        assert service.builds.get(taken.build.id).status == "running"
        with bench.worker():
            built = until_status(service, taken.build, "built", bench.said)
    assert built.attempts == 2
    assert f"build {built.id} was lost by its worker, and is queued" in bench.said()
    only_image(bench, "orphan-champion")


def test_a_paused_worker_names_nothing_that_another_has_taken(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "paused", place / "model")
    service = opened(bench)
    with bench.worker() as paused, ExitStack() as at_the_end:
        (taken,) = take_all(service, bench.alias_event("paused", version))
        (child,) = until(lambda: children(paused.pid), say=bench.said)
        until_status(service, taken.build, "running", bench.said)
        paused.send_signal(signal.SIGSTOP)
        at_the_end.callback(paused.send_signal, signal.SIGCONT)  # else it could not be told to stop
        until(lambda: tags(bench), say=bench.said)
        with bench.worker():
            until(lambda: service.builds.get(taken.build.id).attempts == 2, say=bench.said)
            assert not [tag for tag in tags(bench) if tag.startswith("paused")]  # seconds after it was written
            built = until_status(service, taken.build, "built", bench.said)
        paused.send_signal(signal.SIGCONT)
        until(lambda: not Path(f"/proc/{child}").exists(), say=bench.said)
    assert service.builds.get(built.id).worker is None
    assert str(only_image(bench, "paused-champion").digest) == built.digest


def test_a_worker_that_is_told_to_stop_hands_back(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "stopped", place / "model")
    service = opened(bench)
    (taken,) = take_all(service, bench.alias_event("stopped", version))
    with bench.worker(DBIMAGE_WORKER_GRACE="0") as worker:
        until_status(service, taken.build, "running", bench.said)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    waiting = service.builds.get(taken.build.id)
    assert (waiting.status, waiting.attempts, waiting.worker) == ("queued", 0, None)
    with bench.worker() as worker:
        until_status(service, taken.build, "running", bench.said)
        worker.send_signal(signal.SIGTERM)  # this time with grace
        assert worker.wait(60) == 0
    assert service.builds.get(taken.build.id).status == "built"
    only_image(bench, "stopped-champion")


def test_what_cannot_be_solved_fails_at_once(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "unsolvable", place / "unsolvable")
    service = opened(bench)
    with bench.worker():
        (taken,) = take_all(service, bench.alias_event("unsolvable", version))
        failed = until_status(service, taken.build, "failed", bench.said)
        status = lambda: tags_of(bench.tracking_uri, "unsolvable", version).get("dbimage_status")  # noqa: E731
        until(lambda: status() == "failed", say=bench.said)
    assert failed.attempts == 1
    assert failed.error_code in ("package-not-found", "unsolvable")
    assert "there-is-no-such-package" in tags_of(bench.tracking_uri, "unsolvable", version)["dbimage_error"]


@pytest.mark.registry
def test_a_registry_that_is_down_is_waited_for(new_bench, opened, place, tmp_path):
    port = free_port()
    bench = new_bench(
        rules=[{"name": "pushed", "on": "alias-set", "target": f"//127.0.0.1:{port}/models"}],
        variables={"DBIMAGE_BUILD_ATTEMPTS": "9"},
    )
    version = register(bench.tracking_uri, "pushed", place / "model")
    service = opened(bench)
    with bench.worker():
        (taken,) = take_all(service, bench.alias_event("pushed", version))
        waiting = lambda: service.builds.get(taken.build.id).error_code == "registry-unreachable"  # noqa: E731
        until(waiting, say=bench.said)
        with registry_server(tmp_path / "registry", port=port):
            built = until_status(service, taken.build, "built", bench.said)
    assert built.attempts > 1
    assert built.image.startswith(f"127.0.0.1:{port}/models/pushed-champion@sha256:")


def test_a_running_build_is_cancelled(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "cancelled", place / "model")
    service = opened(bench)
    with bench.worker() as worker:
        (taken,) = take_all(service, bench.alias_event("cancelled", version))
        until_status(service, taken.build, "running", bench.said)
        assert service.builds.cancel(taken.build.id).cancelling
        until_status(service, taken.build, "cancelled", bench.said)
        assert children(worker.pid) == []


def test_a_build_that_takes_too_long_is_stopped(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "slow", place / "model")
    service = opened(bench)
    with bench.worker(DBIMAGE_BUILD_TIMEOUT="1"):
        (taken,) = take_all(service, bench.alias_event("slow", version))
        failed = until_status(service, taken.build, "failed", bench.said)
    assert (failed.error_code, failed.attempts) == ("build-timeout", 1)


def test_an_alias_that_has_moved_on_is_not_built(new_bench, opened, place):
    bench = new_bench()
    first = register(bench.tracking_uri, "moved", place / "model")
    second = register(bench.tracking_uri, "moved", place / "model")
    service = opened(bench)
    (taken,) = take_all(service, bench.alias_event("moved", first))  # its delivery was overtaken
    with bench.worker():
        until_status(service, taken.build, "superseded", bench.said)
    assert f"the alias `champion` is on version {second} by now" in service.logs.read(taken.build.id).text


def test_a_lost_message_is_found_by_the_sweep(new_bench, opened, place):
    bench = new_bench()
    version = register(bench.tracking_uri, "lost", place / "model")
    service = opened(bench)
    (taken,) = take_all(service, bench.alias_event("lost", version))
    while service.queue.receive() is not None:
        pass
    with bench.worker():
        built = until_status(service, taken.build, "built", bench.said)
    assert built.attempts == 1
    assert str(only_image(bench, "lost-champion").digest) == built.digest


def test_a_worker_lets_go_of_old_logs(new_bench, opened):
    bench = new_bench()
    service = opened(bench)
    (taken,) = take_all(service, bench.alias_event("old", "1"))
    service.logs.append(taken.build.id, "a line\n")
    Builds(service.database, FakeClock()).cancel(taken.build.id)  # in 1970
    service.builds.tell(taken.build.id, "cancelled")
    with bench.worker():
        until(lambda: "1 builds ended more than 90 days ago: their logs are gone" in bench.said(), say=bench.said)
    assert service.logs.read(taken.build.id).text == ""


@pytest.mark.postgresql
@pytest.mark.redis
def test_three_workers_make_twelve_models_once_each_while_one_and_redis_are_killed(
    new_bench, opened, place, tmp_path, postgresql
):
    port = free_port()
    bench = new_bench(
        rules=[{"name": "fleet", "on": "version-created", "model": "fleet-*"}],
        variables={
            "DBIMAGE_SERVICE_DATABASE": postgresql.new_database(),
            "DBIMAGE_SERVICE_QUEUE": f"redis://127.0.0.1:{port}/0",
        },
    )
    names = [f"fleet-{letter}" for letter in "abcdefghijkl"]
    versions = [register(bench.tracking_uri, name, place / "model", alias=None) for name in names]
    (tmp_path / "redis").mkdir()
    with ExitStack() as stack:
        with redis_server(tmp_path / "redis", port=port):
            service = opened(bench)
            events = [created_event(name, version) for name, version in zip(names, versions, strict=True)]
            taken = take_all(service, *events)
            killed, *_ = [stack.enter_context(bench.worker()) for _ in range(3)]
            until(lambda: service.builds.counts().get("built", 0) >= 2, say=bench.said)
            killed.kill()
        # Redis is gone now, with every message in it; the table knows.
        until(lambda: service.builds.counts() == {"built": 12}, say=bench.said, seconds=240)
        assert [each.new for each in take_all(service, *events)] == [False] * 12
    builds = [service.builds.get(each.build.id) for each in taken]
    assert sum(build.attempts for build in builds) in (12, 13)  # the killed worker had at most one
    assert {str(only_image(bench, name).digest) for name in names} == {build.digest for build in builds}
