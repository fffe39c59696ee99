"""The job that builds: what Databricks' own SDK reads from it, and that what it runs exists."""

from __future__ import annotations

import re

import pytest

from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.image_location import parse_target
from mlflow_dbimage.service.builder_job import BuilderJobWish, builder_job


def wish(**changes) -> BuilderJobWish:
    given = {
        "name": "images of models",
        "library": "mlflow-dbimage==0.1.0",
        "cluster": {"spark_version": "15.4.x-scala2.12", "node_type_id": "i3.xlarge", "num_workers": 0},
        "target": parse_target("//registry.example/models"),
    }
    return BuilderJobWish(**{**given, **changes})


def parameters(job) -> list[str]:
    return job["tasks"][0]["python_wheel_task"]["parameters"]


def read_by_the_sdk(job):
    """Return the job as the SDK reads it; what it does not know, it leaves out."""
    jobs = pytest.importorskip("databricks.sdk.service.jobs")
    read = jobs.JobSettings.from_dict(job)
    assert read.as_dict() == job
    return read


def test_every_ready_version_of_a_schema():
    job = builder_job(wish(scope="prod.sales", settings={"runtime": "15.4-lts", "layers": "8"}))
    trigger = read_by_the_sdk(job).trigger.model
    assert (trigger.condition.value, trigger.securable_name) == ("MODEL_VERSION_READY", "prod.sales")
    assert parameters(job)[:2] == ["--updates", "{{job.trigger.model.updates}}"]
    assert parameters(job)[-4:] == ["-C", "layers=8", "-C", "runtime=15.4-lts"]


def test_aliases_of_the_whole_metastore():
    job = builder_job(wish(aliases=("champion", "challenger")))
    trigger = read_by_the_sdk(job).trigger.model
    assert (trigger.condition.value, trigger.aliases) == ("MODEL_ALIAS_SET", ["champion", "challenger"])
    assert trigger.securable_name is None


def test_a_deployment_job_has_the_registrys_parameters_and_no_trigger():
    job = builder_job(wish(deployment_job=True))
    read = read_by_the_sdk(job)
    assert read.trigger is None
    assert [each.name for each in read.parameters] == ["model_name", "model_version"]
    assert parameters(job)[1::2][:2] == ["{{job.parameters.model_name}}", "{{job.parameters.model_version}}"]


@pytest.mark.parametrize(
    ("library", "form"),
    [
        ("mlflow-dbimage==0.1.0", {"pypi": {"package": "mlflow-dbimage==0.1.0"}}),
        ("/Volumes/a/b/c/mlflow_dbimage-0.1.0-py3-none-any.whl", None),
    ],
)
def test_the_library_is_a_requirement_or_a_wheel(library, form):
    job = builder_job(wish(library=library))
    assert job["tasks"][0]["libraries"] == [form or {"whl": library}]
    read_by_the_sdk(job)


@pytest.mark.parametrize("scope", ["catalog", "a.b.c.d", "a..c", "a. "])
def test_what_is_no_scope_is_refused(scope):
    with pytest.raises(UsageError, match=re.escape(f"`{scope}` is no scope")):
        builder_job(wish(scope=scope))


def test_all_that_is_wrong_is_told_and_no_secret():
    with pytest.raises(UsageError) as caught:
        builder_job(
            wish(
                target=parse_target("oci:images"),
                aliases=tuple(f"a{number}" for number in range(11)),
                deployment_job=True,
                settings={"index_url": "https://ada:canary@index.example/simple"},
            )
        )
    said = str(caught.value)
    for each in (
        "`oci:",
        "10 aliases at most, and 11",
        "neither scope nor aliases",
        "`index_url` has credentials",
    ):
        assert each in said
    assert "canary" not in said
