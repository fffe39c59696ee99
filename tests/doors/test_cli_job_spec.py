"""`dbimage job-spec`, as people and CI run it, on an image in a real registry."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from databricks.sdk.service.compute import ClusterSpec, DockerImage
from databricks.sdk.service.jobs import JobSettings

from command_line import typed
from doors.test_cli import dbimage, error_of
from mlflow_dbimage import __version__
from mlflow_dbimage.destinations.deployment import Destination, TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.destinations.registry import RegistryDestination
from mlflow_dbimage.oci.image import RunConfig, append
from mlflow_dbimage.oci.registry import Registry
from mlflow_dbimage.progress import SilentProgress
from oci_samples import LINUX, small_image
from plugin_entrypoints.cli.job_entry import job_entry
from unit.test_build_receipt import RECORD

pytestmark = pytest.mark.registry

SAID = ("--node-type", "m5d.xlarge", "--single-user", "ada@acme.example", "--secret-scope", "hub")


def deploy(destination: Destination, folder: Path, **changes: object) -> str:
    """Deploy an image with a record as `churn`, and return its digest."""
    record = replace(RECORD, **changes)
    image = append(small_image(folder), [], RunConfig(labels=record.to_labels()))
    destination.write("churn", image, SilentProgress())
    destination.set_name("churn", image, record)
    return str(image.digest)


@pytest.fixture
def target(registry, tmp_path: Path) -> str:
    """A place in a registry in which an image is deployed as `churn`."""
    prefix = f"spec{abs(hash(tmp_path))}"
    scheme = TagScheme(named=False)
    deploy(
        RegistryDestination(Registry(registry.host), prefix, "{prefix}/{name}", scheme, LINUX), tmp_path / "blobs"
    )
    return f"//{registry.host}/{prefix}"


def test_a_job_is_json_that_databricks_takes(target: str) -> None:
    done = dbimage("job-spec", "churn", "-t", target, "--input", "/Volumes/a/b/in.csv", *SAID, by=typed)
    job = json.loads(done.stdout)
    read = JobSettings.from_dict(job)
    (task,), (job_cluster,) = read.tasks, read.job_clusters
    assert (task.python_wheel_task.package_name, task.python_wheel_task.entry_point) == (
        "dbimage_launcher",
        "score",
    )
    assert job["tasks"][0]["libraries"] == []
    assert re.fullmatch(
        re.escape(target[2:]) + r"/churn:v3-[0-9a-f]{12}", job_cluster.new_cluster.docker_image.url
    )
    assert job_cluster.new_cluster.single_user_name == "ada@acme.example"
    assert [each.default for each in read.parameters] == ["/Volumes/a/b/in.csv", ""]
    assert "note: no cluster reaches `127.0.0.1:" in done.stderr
    assert json.loads(dbimage("job-spec", "churn", "-t", target, "--json", *SAID).stdout)["tasks"] == job["tasks"]


def test_every_form_goes_to_a_file_too(target: str, tmp_path: Path) -> None:
    for form in ("job", "cluster", "bundle", "policy", "pool"):
        file = tmp_path / "new" / f"{form}.txt"
        command = ("job-spec", "churn", "-t", target, "--format", form, *SAID)
        shown = dbimage(*command).stdout
        assert dbimage(*command, "-o", file).stdout == f"wrote `{file}`\n"
        assert file.read_text() == shown
        assert [each.name for each in file.parent.iterdir() if each.name.startswith(".")] == []
    bundle = yaml.safe_load((tmp_path / "new" / "bundle.txt").read_text())
    assert JobSettings.from_dict(bundle["resources"]["jobs"]["score_churn"]).name == "score-churn"
    cluster = ClusterSpec.from_dict(json.loads((tmp_path / "new" / "cluster.txt").read_text()))
    (preloaded,) = json.loads((tmp_path / "new" / "pool.txt").read_text())["preloaded_docker_images"]
    assert DockerImage.from_dict(preloaded) == cluster.docker_image
    assert json.loads((tmp_path / "new" / "policy.txt").read_text())["docker_image.url"]["type"] == "fixed"


def test_an_image_that_no_cluster_can_pull_is_refused(tmp_path: Path) -> None:
    deploy(LayoutDestination(tmp_path / "images", TagScheme(named=True)), tmp_path / "blobs", runtime=None)
    file = tmp_path / "job.json"
    done = dbimage("job-spec", "churn", "-t", f"oci:{tmp_path}/images", "-o", file, "--json", check=3)
    error = error_of(done)
    assert error["code"] == "cannot-run-on-cluster"
    assert "clusters pull from registries alone" in error["message"]
    assert "the runtime of its base image is not known" in error["message"]
    assert not file.exists()


def test_what_is_not_deployed_is_named(target: str) -> None:
    assert error_of(dbimage("job-spec", "chrun", "-t", target, "--json", check=3))["code"] == "not-deployed"


BUILDER = ("job-spec", "image-builder", "--builder", "-t", "//acme.azurecr.io/models")


def test_the_job_that_builds_is_one_that_databricks_and_job_entry_take() -> None:
    done = dbimage(*BUILDER, "--scope", "prod.sales", "--secret-scope", "hub", "-C", "runtime=15.4-lts")
    job = json.loads(done.stdout)
    read = JobSettings.from_dict(job)
    assert read.as_dict() == job  # nothing is there that the SDK does not know
    assert read.trigger.model.securable_name == "prod.sales"
    (task,), cluster = read.tasks, read.job_clusters[0].new_cluster
    assert task.libraries[0].pypi.package == f"mlflow-dbimage=={__version__}"
    assert (cluster.spark_version, cluster.node_type_id) == ("15.4.x-scala2.12", "Standard_D4ds_v5")
    assert cluster.docker_image is None
    assert cluster.spark_env_vars == {
        "DBIMAGE_REGISTRY_USERNAME": "{{secrets/hub/client-id}}",
        "DBIMAGE_REGISTRY_PASSWORD": "{{secrets/hub/client-secret}}",
        "DBIMAGE_REGISTRY_HOST": "acme.azurecr.io",
    }
    assert "note: the node type `Standard_D4ds_v5` is taken" in done.stderr
    taken = job_entry.make_context("job-entry", task.python_wheel_task.parameters).params
    assert (taken["target"], taken["given"]) == ("//acme.azurecr.io/models", {"runtime": "15.4-lts"})
    assert (taken["updates"], taken["registry"]) == ("{{job.trigger.model.updates}}", "databricks-uc")


def test_a_deployment_job_is_a_bundle_too(tmp_path: Path) -> None:
    wheel = "/Volumes/a/b/c/mlflow_dbimage-0.1.0-py3-none-any.whl"
    file = tmp_path / "builder.yml"
    dbimage(*BUILDER, "--deployment-job", "--library", wheel, "--format", "bundle", "-o", file)
    read = JobSettings.from_dict(yaml.safe_load(file.read_text())["resources"]["jobs"]["image_builder"])
    assert [each.name for each in read.parameters] == ["model_name", "model_version"]
    assert read.trigger is None
    assert read.tasks[0].libraries[0].whl == wheel
    assert read.job_clusters[0].new_cluster.single_user_name == "${workspace.current_user.userName}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((*BUILDER, "--input", "x"), "`--input` means nothing of a builder"),
        ((*BUILDER, "--format", "pool"), "a builder is a `job` or a `bundle`"),
        ((*BUILDER, "--scope", "sales"), "`sales` is no scope of a model trigger"),
        ((*BUILDER, "-C", "index_url=https://a:canary@index.example/"), "`index_url` has credentials"),
        ((*BUILDER, "-t", "oci:images", "--node-type", "m5d.xlarge"), "the job pushes to a registry"),
        (("job-spec", "churn", "--alias", "champion"), "`--alias` means nothing without `--builder`"),
    ],
)
def test_wrong_builders_end_with_2_and_tell_no_secret(options: tuple[str, ...], says: str) -> None:
    done = dbimage(*options, check=2)
    assert says in done.stderr
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--env", "canary-7d1"), "the value number 1 is not of the form `NAME=VALUE`"),
        (("--env", "DB_TOKEN=canary-7d1"), "`DB_TOKEN` seems to be a secret"),
        (("--argument", "chunks=5", *SAID), "the scoring program has no option `chunks`"),
        (("--workers", "-1"), "--workers"),
        (("--format", "dockerfile"), "--format"),
        ((), "no node type is named"),
    ],
)
def test_wrong_options_end_with_2_and_tell_no_secret(target: str, options: tuple[str, ...], says: str) -> None:
    done = dbimage("job-spec", "churn", "-t", target, *options, check=2)
    assert says in done.stderr
    assert "canary" not in done.stdout + done.stderr
