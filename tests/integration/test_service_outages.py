"""Whatever is killed while builds are made: every event ends in exactly one image, or one recorded failure."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from pathlib import Path

import mlflow
import pytest

from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.intake import Service
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
from services.mlflow_server import MAY_CALL_LOOPBACK, mlflow_server
from services.ports import free_port
from services.postgresql_server import postgresql_server
from services.redis_server import redis_server
from services.registry_server import registry_server
from webhook_client import SECRET, Answer, Client, version

pytestmark = [pytest.mark.slow, pytest.mark.channel]

EVERY_VERSION = {"name": "versions", "on": "version-created", "model": "out-*"}

#: Who is killed, one after another: each right after each other one.
VICTIMS = ("door", "worker", "queue", "door", "queue", "worker", "door")


@dataclass
class Part:
    """A process of the service, which is killed and started again."""

    start: Callable[[], AbstractContextManager[subprocess.Popen[str] | None]]
    """Starts it; SIGKILL is how it ends."""
    running: ExitStack = field(default_factory=ExitStack)
    process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Part:
        self.process = self.running.enter_context(self.start())
        return self

    def __exit__(self, *_: object) -> None:
        self.running.close()

    def kill(self) -> None:
        """Kill it and start it again."""
        self.running.close()
        self.process = self.running.enter_context(self.start())


@dataclass
class Outages:
    """A door with a worker, a worker, and a queue, each of which may be killed."""

    bench: ServiceBench
    service: Service
    parts: dict[str, Part]
    client: Client
    model: Path
    versions: dict[str, str] = field(default_factory=dict)
    """Those that were delivered, by model."""

    def deliver(self, model: str) -> Answer:
        """Deliver the event of a version as registries do: until there is an answer."""
        number = self.versions[model]
        body = json.dumps(version(model, number)).encode()

        def answer() -> Answer | None:
            with suppress(OSError):
                return self.client.deliver(body, delivery=f"created-{model}-{number}")
            return None

        return until(answer, say=self.bench.said)

    def deliver_new(self, model: str, directory: Path) -> None:
        """Register the first version of a model, and deliver its event."""
        self.versions[model] = register(self.bench.tracking_uri, model, directory, alias=None)
        assert self.deliver(model).status in (202, 200)  # 200 where a door was killed before it could answer

    def kill(self, name: str) -> None:
        """Kill a part while builds are made, where it makes some while it has one, and start it again."""

        def has_build() -> bool:
            if self.running(self.parts[name].process):
                return True
            if not self.service.builds.find(status=["queued"]):
                self.deliver_new(f"out-{len(self.versions):02}", self.model)
            return False

        until(has_build, say=self.bench.said)
        self.parts[name].kill()

    def running(self, process: subprocess.Popen[str] | None) -> list[Build]:
        """Return the builds under way: of a process and the workers that it runs, or of any."""
        builds = self.service.builds.find(status=["running"])
        if process is None:
            return list(builds)
        marks = [f"-{pid}-" for pid in (process.pid, *children(process.pid))]
        return [each for each in builds if any(mark in (each.worker or "") for mark in marks)]


@pytest.fixture
def outages(new_bench, opened, place, tmp_path) -> Iterator[Outages]:
    redis, door = free_port(), free_port()
    bench = new_bench(
        rules=[EVERY_VERSION],
        variables={
            "DBIMAGE_SERVICE_QUEUE": f"redis://127.0.0.1:{redis}/0",
            "DBIMAGE_WEBHOOK_SECRETS": SECRET,
            "DBIMAGE_BUILD_ATTEMPTS": "9",
        },
    )
    (tmp_path / "redis").mkdir()

    @contextmanager
    def killed_at_the_end(*arguments: object) -> Iterator[subprocess.Popen[str]]:
        with (bench.bench.folder / "worker.log").open("a") as log:
            process = bench.bench.start(*arguments, log=log, **bench.environment)
            with process:
                yield process
                process.kill()

    @contextmanager
    def queue() -> Iterator[None]:
        with redis_server(tmp_path / "redis", port=redis):
            yield None

    parts = {
        "queue": Part(queue),
        "door": Part(lambda: killed_at_the_end("webhook", "serve", "--port", door, "--workers", "1")),
        "worker": Part(lambda: killed_at_the_end("worker")),
    }
    with ExitStack() as stack:
        for part in parts.values():
            stack.enter_context(part)
        yield Outages(bench, opened(bench), parts, Client(f"http://127.0.0.1:{door}", None), place / "model")


@pytest.mark.redis
def test_door_worker_and_redis_are_killed_each_after_each(outages, place):
    assert set(pairwise(VICTIMS)) == set(permutations(("door", "worker", "queue"), 2))
    bench, service, versions = outages.bench, outages.service, outages.versions
    outages.deliver_new("out-of-luck", place / "unsolvable")
    for victim in VICTIMS:
        outages.kill(victim)
    until(lambda: set(service.builds.counts()) == {"built", "failed"}, say=bench.said)
    builds = {build.model: build for build in service.builds.find(limit=100)}
    assert service.builds.counts() == {"built": len(versions) - 1, "failed": 1}
    assert set(builds) == set(versions)
    assert sum(build.attempts for build in builds.values()) > len(builds)
    assert builds.pop("out-of-luck").error_code in ("package-not-found", "unsolvable")
    for name, build in builds.items():
        assert str(only_image(bench, name).digest) == build.digest
    again = [outages.deliver(name) for name in versions]
    assert {(each.status, each.json["outcome"]) for each in again} == {(200, "duplicate")}
    told = lambda: {tags_of(bench.tracking_uri, name, versions[name]).get("dbimage_status") for name in builds}  # noqa: E731
    until(lambda: told() == {"built"}, say=bench.said)


@pytest.mark.registry
def test_a_registry_that_goes_away_for_a_while_is_waited_for(new_bench, opened, place, tmp_path):
    port = free_port()
    bench = new_bench(
        rules=[{**EVERY_VERSION, "target": f"//127.0.0.1:{port}/models"}],
        variables={"DBIMAGE_BUILD_ATTEMPTS": "9", "DBIMAGE_WORKER_BUILDS": "2"},
    )
    service, names = opened(bench), ("out-one", "out-two")
    versions = [register(bench.tracking_uri, name, place / "model", alias=None) for name in names]
    with ExitStack() as running:
        registry = running.enter_context(ExitStack())
        registry.enter_context(registry_server(tmp_path / "registry", port=port))
        running.enter_context(bench.worker())
        events = [created_event(name, number) for name, number in zip(names, versions, strict=True)]
        builds = [taken.build for taken in take_all(service, *events)]
        until(lambda: service.builds.counts() == {"running": 2}, say=bench.said)
        registry.close()
        waits = lambda: [service.builds.get(each.id).error_code for each in builds]  # noqa: E731
        until(lambda: all((code or "").startswith("registry-") for code in waits()), say=bench.said)
        registry.enter_context(registry_server(tmp_path / "registry", port=port))
        made = [until_status(service, build, "built", bench.said) for build in builds]
        assert all(build.attempts > 1 for build in made)
        for build in made:
            shown = bench.run("inspect", build.name, "--json", "-t", f"dbimage://127.0.0.1:{port}/models")
            assert json.loads(shown.stdout)["digest"] == build.digest, shown.stderr


def test_an_event_that_went_down_with_mlflows_server_is_found(new_bench, opened, place, tmp_path):
    """The server is killed while it delivers: to a door that has taken the call, and does not answer."""
    folder = tmp_path / "mlflow"
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(60)
        with mlflow_server(folder, **MAY_CALL_LOOPBACK) as server:
            bench = new_bench(rules=[EVERY_VERSION], tracking_uri=server.uri)
            service = opened(bench)
            url = f"http://127.0.0.1:{door.getsockname()[1]}"
            mlflow.MlflowClient(server.uri, server.uri).create_webhook("dbimage", url, ["model_version.created"])
            number = register(server.uri, "out-of-sight", place / "model", alias=None)
            call, _ = door.accept()
            with call:
                os.killpg(server.group, signal.SIGKILL)
    with mlflow_server(folder, port=int(server.uri.rpartition(":")[2]), **MAY_CALL_LOOPBACK):
        found = json.loads(bench.run("reconcile", "--once", "--json").stdout)
    assert [(each["model"], each["version"]) for each in found["queued"]] == [("out-of-sight", number)]
    assert service.builds.counts() == {"queued": 1}
    (late,) = take_all(service, created_event("out-of-sight", number))
    assert not late.new


@pytest.mark.postgresql
def test_postgresql_is_restarted_in_the_middle_of_a_build(new_bench, opened, place, tmp_path):
    with ExitStack() as database:
        server = database.enter_context(postgresql_server(tmp_path))
        bench = new_bench(rules=[EVERY_VERSION], variables={"DBIMAGE_SERVICE_DATABASE": server.new_database()})
        service = opened(bench)
        number = register(bench.tracking_uri, "out-of-order", place / "model", alias=None)
        with bench.worker() as worker:
            (taken,) = take_all(service, created_event("out-of-order", number))
            until(lambda: children(worker.pid), say=bench.said)
            until_status(service, taken.build, "running", bench.said)
            database.close()
            until(lambda: "the service's database failed" in bench.said(), say=bench.said)
            database.enter_context(postgresql_server(tmp_path, port=server.port))
            built = until_status(service, taken.build, "built", bench.said)
        assert str(only_image(bench, "out-of-order").digest) == built.digest
        service.close()
