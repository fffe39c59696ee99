"""An alias set on a real tracking server becomes an image, with nothing but `dbimage webhook serve` between."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, greeting_wheel, light_model, light_settings, tiny_base
from mlflow_dbimage.oci.layout import Layout
from service_bench import ServiceBench, register, tags_of, until
from services.mlflow_server import MAY_CALL_LOOPBACK, mlflow_server
from services.ports import free_port
from webhook_client import Client

pytestmark = [pytest.mark.slow, pytest.mark.channel]

TOKEN = "a token for people and programs"


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """Run a tracking server that may call loopback."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), **MAY_CALL_LOOPBACK) as running:
        yield running


@pytest.fixture
def bench(conda_channel, tmp_path, tracking) -> Iterator[ServiceBench]:
    """Make a folder with all that the service needs; its secret is in a file that `register` makes."""
    place = tmp_path / "place"
    (place / "wheels").mkdir(parents=True)
    greeting_wheel(place / "wheels")
    with serve(PackageIndex(directory=place / "wheels")) as index:
        settings = light_settings(conda_channel.url, tiny_base(place / "base" / "base.tar"), index.url)
        here = Bench(
            folder=tmp_path / "here", model=light_model(place / "model"), cache=place / "cache", settings=settings
        )
        (here.folder / "token").write_text(TOKEN)
        variables = {"DBIMAGE_WEBHOOK_SECRETS": "file:secret", "DBIMAGE_SERVICE_TOKEN": "file:token"}
        yield ServiceBench(bench=here, tracking_uri=tracking.uri, variables=variables)


def test_an_alias_becomes_an_image_and_nobody_ran_a_command(bench, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    made = bench.run(
        "webhook", "register", url, "--secret-file", "secret", "--json", DBIMAGE_WEBHOOK_SECRETS="unused"
    )
    assert made.returncode == 0, made.stderr
    with (bench.bench.folder / "serve.log").open("w") as log:
        arguments = ("webhook", "serve", "--port", port, "--workers", "1")
        serving = bench.bench.start(*arguments, log=log, **bench.environment)
        try:
            client = Client(url, None, {"Authorization": f"Bearer {TOKEN}"})
            until(lambda: answers(client), say=lambda: said(bench))
            version = register(bench.tracking_uri, "churn", bench.bench.model)
            build = until(lambda: ended(client), say=lambda: said(bench))
            assert (build["status"], build["model"], build["version"]) == ("built", "churn", version), build
            assert build["cause"] == f"alias champion set on churn version {version}"
            assert "installing" in client.get(f"/api/builds/{build['id']}/log").json["text"]
            receipt = client.get(f"/api/builds/{build['id']}/receipt").json
            assert (
                build["digest"]
                == receipt["digest"]
                == str(Layout(bench.bench.target).image("churn-champion").digest)
            )
            assert receipt["digest"] in client.get(f"/builds/{build['id']}").text
            tags = until(lambda: told(bench, version), say=lambda: said(bench))
            assert tags["dbimage_digest"] == receipt["digest"]
            # What we told the registry are tags, whose events no rule may match.
            assert len(client.get("/api/builds").json["builds"]) == 1
            metrics = client.get("/metrics").text
            assert 'dbimage_deliveries_total{outcome="queued",source="mlflow"} 1.0' in metrics
        finally:
            serving.send_signal(signal.SIGTERM)
            serving.communicate(timeout=60)
    assert serving.returncode == 0, said(bench)
    assert "Traceback" not in said(bench)


def answers(client: Client) -> bool:
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False


def ended(client: Client):
    builds = client.get("/api/builds").json["builds"]
    return builds[0] if builds and builds[0]["ended"] else None


def told(bench: ServiceBench, version: str):
    tags = tags_of(bench.tracking_uri, "churn", version)
    return tags if tags.get("dbimage_status") == "built" else None


def said(bench: ServiceBench) -> str:
    return (bench.bench.folder / "serve.log").read_text()
