"""The entry of a Databricks job: builds what its parameters name, and returns or raises, but never exits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import CLONE, Bench, greeting_wheel, light_model, light_settings, tiny_base
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.service.builder_job import ENTRY_POINT
from service_bench import register

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# As a wheel task does: the function of the entry point, in a process that goes on.
WHEEL_TASK = """
import sys
from importlib.metadata import EntryPoint
point = EntryPoint(name="dbimage-job-entry", value=sys.argv.pop(1), group="console_scripts")
try:
    print(point.load()(), file=sys.stderr)
except BaseException as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
print("the process goes on", file=sys.stderr)
"""


def wheel_task(bench: Bench, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    project = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]
    program = (sys.executable, "-c", WHEEL_TASK, project["scripts"][ENTRY_POINT])
    done = bench.run(*arguments, program=program, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "the process goes on"
    return done


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(folder=tmp_path / "here", model=tmp_path, cache=tmp_path / "cache", settings={})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "InputError: the job's parameters cannot be used: they name no model version"),
        (("--updates", "{{job.trigger.model.updates}}"), "they name no model version"),
        (("--updates", "[]"), "InputError: the job's parameters cannot be used"),
        (("--nonsense",), "UsageError: the task's parameters are wrong: No such option"),
        (("--model-name", "a.b.c", "--model-version", "1", "-C", "layers=0"), "UsageError: `layers`"),
        (("--help",), "None"),
    ],
)
def test_it_raises_and_never_exits(bench, arguments, says):
    assert says in wheel_task(bench, *arguments).stderr


@pytest.mark.slow
@pytest.mark.channel
class TestForReal:
    """Builds of light models of a real registry."""

    @pytest.fixture
    def bench(self, conda_channel, tmp_path, tracking_server) -> Iterator[Bench]:
        greeting_wheel(wheels(tmp_path))
        with serve(PackageIndex(directory=tmp_path / "wheels")) as index:
            yield Bench(
                folder=tmp_path / "here",
                model=light_model(tmp_path / "model"),
                cache=tmp_path / "cache",
                settings={
                    "MLFLOW_TRACKING_URI": tracking_server.uri,
                    **light_settings(conda_channel.url, tiny_base(tmp_path / "base" / "base.tar"), index.url),
                },
            )

    def test_all_updates_are_tried_and_one_that_fails_fails_the_run(self, bench, tracking_server):
        version = register(tracking_server.uri, "prod.sales.churn", bench.model, alias=None)
        updates = [
            {"full_name": "prod.sales.nobody", "version": "1", "alias_name": None},
            {"full_name": "prod.sales.churn", "version": version, "alias_name": "champion"},
            {"full_name": "prod.sales.churn", "version": version, "alias_name": "challenger"},
        ]
        done = wheel_task(bench, "--updates", json.dumps(updates), "--json")
        result = json.loads(done.stdout)
        (receipt,) = result["built"]
        assert [(each["model"], each["code"]) for each in result["failed"]] == [
            ("prod.sales.nobody", "model-not-found")
        ]
        assert receipt["record"]["model_uri"] == f"models:/prod.sales.churn/{version}"
        assert receipt["digest"] == str(Layout(bench.target).image("prod.sales.churn").digest)
        assert "InputError: MLflow has no registered model `prod.sales.nobody`" in done.stderr

    def test_the_command_is_the_same(self, bench, tracking_server):
        version = register(tracking_server.uri, "churn", bench.model, alias=None)
        done = bench.run("job-entry", "--model-name", "churn", "--model-version", version, "--json", "-q")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["built"][0]["name"] == "churn"
        missing = bench.run("job-entry", "--model-name", "nobody", "--model-version", "1", "--json")
        assert missing.returncode == 3
        assert json.loads(missing.stdout)["failed"][0]["code"] == "model-not-found"


def wheels(folder: Path) -> Path:
    (folder / "wheels").mkdir()
    return folder / "wheels"
