"""Models of Unity Catalog become images: MLflow's client and Databricks' SDK against a workspace on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from fakes.package_index import PackageIndex
from fakes.package_index import serve as serve_packages
from fakes.unity_catalog import UnityCatalog, serve
from light_build import Bench, greeting_wheel, light_model, light_settings, tiny_base
from mlflow_dbimage.oci.layout import Layout
from service_bench import ServiceBench, until_status

pytestmark = [pytest.mark.slow, pytest.mark.channel]

NAME = "prod.sales.churn"


@pytest.fixture(scope="module")
def place(tmp_path_factory, conda_channel) -> Iterator[dict[str, str]]:
    """Hold what all builds here have in common, and give its settings."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "wheels").mkdir()
    greeting_wheel(folder / "wheels")
    with serve_packages(PackageIndex(directory=folder / "wheels")) as index:
        yield light_settings(conda_channel.url, tiny_base(folder / "base" / "base.tar"), index.url)


@pytest.fixture
def catalog() -> Iterator[UnityCatalog]:
    with serve(UnityCatalog()) as catalog:
        yield catalog


@pytest.fixture
def bench(place, tmp_path, tmp_path_factory, catalog) -> Bench:
    return Bench(
        folder=tmp_path / "here",
        model=light_model(tmp_path / "model"),
        cache=tmp_path_factory.getbasetemp() / "unity-cache",
        settings={**place, **catalog.environment},
    )


@pytest.mark.parametrize("by_sdk", [False, True], ids=["mlflow", "sdk"])
def test_a_trigger_builds_what_it_names(bench, catalog, by_sdk):
    catalog.by_sdk = by_sdk
    version = catalog.add(NAME, bench.model, alias="champion")
    updates = json.dumps([{"full_name": NAME, "version": version, "alias_name": "champion"}])
    done = bench.run("job-entry", "--updates", updates, "--registry", "databricks-uc", "--json")
    assert done.returncode == 0, done.stderr
    (receipt,) = json.loads(done.stdout)["built"]
    assert receipt["record"]["model_uri"] == f"models://databricks-uc/{NAME}/{version}"
    assert receipt["digest"] == str(Layout(bench.target).image(NAME).digest)
    assert catalog.models[NAME][version].tags["dbimage_digest"] == receipt["digest"]
    # The SDK's client asks for folders by HEAD; MLflow's own asks for the right to read a version.
    assert any(request.startswith("HEAD /api/2.0/fs/directories") for request in catalog.requests) == by_sdk
    assert any("generate-temporary-credentials" in request for request in catalog.requests) != by_sdk
    for secret in (catalog.token, catalog.client[1]):
        assert secret not in done.stdout + done.stderr


def test_a_version_that_does_not_exist(bench, catalog):
    catalog.add(NAME, bench.model)
    given = ("--model-name", NAME, "--model-version", "7", "--registry", "databricks-uc", "--json")
    done = bench.run("job-entry", *given)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["failed"][0]["code"] == "model-not-found"


def test_credentials_that_are_refused(bench, catalog):
    catalog.add(NAME, bench.model)
    given = ("--model-name", NAME, "--model-version", "1", "--registry", "databricks-uc", "--json")
    done = bench.run("job-entry", *given, DATABRICKS_CLIENT_SECRET="guess")
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["failed"][0]["code"] == "store-failed"
    assert "Traceback" not in done.stderr
    assert "guess" not in done.stdout + done.stderr


def test_a_service_asks_and_builds(bench, catalog):
    version = catalog.add(NAME, bench.model, alias="champion")
    catalog.add("prod.other.ignored", bench.model, alias="champion")
    service = ServiceBench(
        bench=bench,
        tracking_uri="databricks",
        variables={"DBIMAGE_RECONCILE_MODELS": "prod.sales"},
        rules=[{"name": "champions", "on": "alias-set", "alias": "champion"}],
    )
    done = service.run("reconcile", "--once", "--json")
    assert done.returncode == 0, done.stderr
    (queued,) = json.loads(done.stdout)["queued"]
    assert (queued["model"], queued["version"]) == (NAME, version)
    with service.open() as opened, service.worker():
        build = until_status(opened, opened.builds.get(queued["id"]), "built", service.said)
    assert build.digest == str(Layout(bench.target).image(f"{NAME}-champion").digest)
    assert catalog.models[NAME][version].tags["dbimage_digest"] == build.digest
