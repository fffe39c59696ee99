"""What the registry is told: tags of the version as its newest build stands, log and receipt in its run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import mlflow
import pytest

from fakes.clock import FakeClock
from mlflow_dbimage.backends.mlflow_registry import MlflowRegistry
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_logs import BuildLogs
from mlflow_dbimage.service.build_queue import open_queue
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import open_database, sqlite_url
from mlflow_dbimage.service.events import Event
from mlflow_dbimage.service.intake import Service, take_in
from mlflow_dbimage.service.registry_tags import Teller
from mlflow_dbimage.service.rules import read

# MLflow warns of what its database library will not do some day.
pytestmark = pytest.mark.filterwarnings("ignore")

RECEIPT = {"reference": "host/m@sha256:1", "digest": "sha256:1", "sent_size": 12}


@pytest.fixture
def service(tmp_path) -> Iterator[Service]:
    database = open_database(sqlite_url(tmp_path / "builds.db"))
    service = Service(
        rules=read([{"name": "one", "on": "alias-set"}, {"name": "two", "on": "version-created"}]),
        database=database,
        builds=Builds(database),
        logs=BuildLogs(database),
        queue=open_queue(None, tmp_path / "queue.db"),
    )
    yield service
    service.close()


def want(service: Service, kind: str = "alias-set", version: str = "1") -> Build:
    event = Event(kind=kind, model="m", version=version, alias="a", received=1.0)
    build = take_in(event, service).build
    assert build is not None
    return build


@pytest.fixture
def client(tracking_uri, tmp_path) -> mlflow.MlflowClient:
    client = mlflow.MlflowClient(tracking_uri, tracking_uri)
    run = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "artifacts")))
    client.create_registered_model("m")
    client.create_model_version("m", "/nowhere", run.info.run_id)
    return client


def tags(client: mlflow.MlflowClient, version: str = "1") -> dict[str, str]:
    return dict(client.get_model_version("m", version).tags)


def test_the_tags_follow_the_build(client, service, tmp_path):
    teller, build = Teller(service, MlflowRegistry()), want(service)
    assert teller.tell() == 1
    assert tags(client) == {"dbimage_status": "queued"}
    assert teller.tell() == 0
    service.builds.take(build.id, "w", 60)
    teller.tell()
    assert tags(client) == {"dbimage_status": "building"}
    service.builds.fail(build.id, "w", "unsolvable", "no such package\n\nhint: " + "x" * 500)
    teller.tell()
    assert tags(client)["dbimage_status"] == "failed"
    assert tags(client)["dbimage_error"].startswith("unsolvable: no such package")
    assert len(tags(client)["dbimage_error"]) == 250
    again = want(service)
    service.builds.take(again.id, "w", 60)
    service.logs.append(again.id, "a line\n")
    service.builds.finish(again.id, "w", RECEIPT)
    teller.tell()
    assert tags(client) == {
        "dbimage_status": "built",
        "dbimage_image": "host/m@sha256:1",
        "dbimage_digest": "sha256:1",
    }
    kept = tmp_path / "artifacts" / client.get_model_version("m", "1").run_id / "artifacts" / "dbimage"
    assert (kept / f"build-{again.id}" / "build.log").read_text() == "a line\n"
    assert json.loads((kept / f"build-{again.id}" / "build.json").read_text())["receipt"] == RECEIPT


@pytest.mark.parametrize(("proven", "status"), [(True, "proven"), (False, "built")])
def test_an_image_in_which_the_model_ran_is_proven(client, service, proven: bool, status: str):
    build = want(service)
    service.builds.take(build.id, "w", 60)
    service.builds.finish(build.id, "w", {**RECEIPT, "verification": {"proven": proven}})
    Teller(service, MlflowRegistry()).tell()
    assert tags(client)["dbimage_status"] == status


def test_what_does_not_count_does_not_hide_what_does(client, service):
    teller, built = Teller(service, MlflowRegistry()), want(service)
    service.builds.take(built.id, "w", 60)
    service.builds.finish(built.id, "w", RECEIPT)
    cancelled = want(service, "version-created")
    service.builds.cancel(cancelled.id)
    assert teller.tell() == 2
    assert tags(client)["dbimage_status"] == "built"


def test_a_version_that_is_gone_is_noted_in_the_log(client, service):
    build = want(service, version="9")
    teller = Teller(service, MlflowRegistry())
    assert teller.tell() == 0
    assert service.builds.untold() == ()
    assert "the registry was not told `queued`" in service.logs.read(build.id).text


def test_a_version_without_a_run_keeps_no_files(client):
    client.create_model_version("m", "/nowhere")
    assert not MlflowRegistry().keep_files("m", "2", "folder", {"a": "b"})


@dataclass
class Refusing:
    """A registry that may not be written to, until it may."""

    error: Exception | None = field(default_factory=lambda: ServiceError("store-failed", "permission denied"))
    told: list[str] = field(default_factory=list)

    def set_tags(self, model, version, tags):
        if self.error is not None:
            raise self.error
        self.told.append(f"{version} {tags['dbimage_status']}")

    def keep_files(self, model, version, folder, files):
        return True


def test_a_registry_that_is_away_is_told_when_it_is_back(service):
    clock, registry = FakeClock(), Refusing()
    teller, build = Teller(service, registry, clock), want(service)
    assert teller.tell() == 0
    registry.error = None
    assert teller.tell() == 0  # it is given some time
    clock.advance(6)
    assert teller.tell() == 1
    assert registry.told == ["1 queued"]
    assert service.logs.read(build.id).text == ""


def test_a_registry_that_refuses_for_good_is_given_up_and_the_log_says_so(service):
    clock, registry = FakeClock(), Refusing()
    teller, build = Teller(service, registry, clock), want(service)
    for _ in range(6):
        assert len(service.builds.untold()) == 1
        teller.tell()
        clock.advance(60)
    assert service.builds.untold() == ()
    assert service.logs.read(build.id).text == "the registry was not told `queued`: permission denied\n"
    assert service.builds.get(build.id).status == "queued"
    others = [want(service, "alias-set", str(version)) for version in (2, 3)]
    teller.tell()
    assert service.builds.untold() == ()
    assert all(service.logs.read(other.id).text for other in others)


def test_what_the_input_has_wrong_is_given_up_at_once(service):
    build = want(service)
    teller = Teller(service, Refusing(InputError("model-not-found", "gone")), FakeClock())
    teller.tell()
    assert service.builds.untold() == ()
    assert "gone" in service.logs.read(build.id).text
