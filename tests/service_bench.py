"""A service in a folder of its own: rules, table, queue, and real workers that make images of light models."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest

from light_build import Bench
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.service.build import Build, Status
from mlflow_dbimage.service.events import Event, from_mlflow
from mlflow_dbimage.service.intake import Service, Taken, open_service, take_in
from mlflow_dbimage.settings_sources import Surroundings, load

RULES = (
    {"name": "champions", "on": "alias-set", "alias": "champion"},
    {"name": "versions", "on": "version-created", "model": "each-*"},
)


@dataclass(kw_only=True)
class ServiceBench:
    """A folder with a service, and MLflow's registry beside it."""

    bench: Bench
    tracking_uri: str
    variables: Mapping[str, str] = field(default_factory=dict)
    rules: Sequence[Mapping[str, object]] = RULES
    deliveries: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What its processes have, besides what the bench has."""
        return {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "XDG_DATA_HOME": str(self.bench.folder / "data"),
            "DBIMAGE_RULES": json.dumps(self.rules),
            "DBIMAGE_BUILD_LEASE": "2",
            "DBIMAGE_BUILD_RETRY": "1",
            "DBIMAGE_RECONCILE_EVERY": "0",
            **self.variables,
        }

    @contextmanager
    def open(self) -> Iterator[Service]:
        """Open its table in this process."""
        environment = {**self.bench.environment, **self.environment}
        places = Surroundings(
            environment=environment, directory=self.bench.folder, user_file=self.bench.folder / "none.toml"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_DATA_HOME", environment["XDG_DATA_HOME"])
            service = open_service(load(surroundings=places))
        with closing(service):
            yield service

    def run(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return self.bench.run(*arguments, **{**self.environment, **variables})

    @contextmanager
    def worker(self, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run a worker; it is told to stop at the end, and what it said stands in `worker.log`."""
        with (self.bench.folder / "worker.log").open("a") as log:
            process = self.bench.start("worker", log=log, **{**self.environment, **variables})
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)

    def said(self) -> str:
        """Return what all workers said."""
        return (self.bench.folder / "worker.log").read_text()

    def alias_event(self, model: str, version: str, alias: str = "champion") -> Event:
        """Return the event of an alias, read from what MLflow's server sends."""
        self.deliveries += 1
        data = {"name": model, "alias": alias, "version": version}
        body = {"entity": "model_version_alias", "action": "created", "timestamp": "", "data": data}
        event = from_mlflow(json.dumps(body).encode(), delivery=f"d-{self.deliveries}", received=time.time())
        assert isinstance(event, Event)
        return event


def register(uri: str, name: str, model: Path, alias: str | None = "champion") -> str:
    """Log a model directory in a run of a real registry, register it, and return its version."""
    client = mlflow.MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("service")
    run = client.create_run(experiment.experiment_id if experiment else client.create_experiment("service"))
    client.log_artifacts(run.info.run_id, str(model), "model")
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    if alias is not None:
        client.set_registered_model_alias(name, alias, version.version)
    return str(version.version)


def tags_of(uri: str, name: str, version: str) -> dict[str, str]:
    """Return the tags of a model version."""
    return dict(mlflow.MlflowClient(uri, uri).get_model_version(name, version).tags)


def until(condition: Callable[[], Any], seconds: float = 90, say: Callable[[], str] = str) -> Any:
    """Wait for something to be so, and return it; fail with what `say` says if it takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain; {say()}")


def until_status(service: Service, build: Build | None, status: Status, say: Callable[[], str] = str) -> Build:
    """Wait until a build has a status, and return it."""
    assert build is not None
    number = build.id
    until(
        lambda: service.builds.get(number).status == status, say=lambda: f"{service.builds.get(number)}\n{say()}"
    )
    return service.builds.get(number)


def take_all(service: Service, *events: Event) -> list[Taken]:
    """Take events in."""
    return [take_in(event, service) for event in events]


def created_event(model: str, version: str) -> Event:
    """Return the event of a created version."""
    return Event(kind="version-created", model=model, version=version, delivery=f"{model}-{version}", received=1.0)


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def only_image(bench: ServiceBench, name: str) -> Image:
    """Return the one image that the destination has under a name."""
    layout = Layout(bench.bench.target)
    found = {str(layout.image(tag).digest): layout.image(tag) for tag in layout.tags() if tag.startswith(name)}
    (image,) = found.values()
    return image
