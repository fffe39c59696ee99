"""A deployed model on another base, through the command: what a build on that base gives, at no cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, error_of, greeting_wheel, light_model, light_settings, tiny_base
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.rootfs import rootfs_image
from mlflow_dbimage.oci.validate import problems
from oci_samples import LINUX
from services.registry_server import RunningRegistry, registry_server

pytestmark = [pytest.mark.slow, pytest.mark.channel]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold the model, and two bases that differ in a file."""
    folder = tmp_path_factory.mktemp("place")
    tiny_base(folder / "bases" / "old.tar")
    tiny_base(folder / "bases" / "new.tar", "etc/patched")
    light_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def bench(conda_channel, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A bench on which the model is deployed as `churn` on the old base."""
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    with serve(PackageIndex(directory=folder)) as index:
        settings = light_settings(conda_channel.url, place / "bases" / "old.tar", index.url)
        bench = Bench(folder=place / "bench", model=place / "model", cache=place / "cache", settings=settings)
        bench.receipt("churn")
        yield bench


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        yield running


def test_in_a_layout_it_is_what_a_build_on_the_new_base_gives(bench: Bench, place: Path) -> None:
    new = f"rootfs:{place / 'bases' / 'new.tar'}"
    before = Layout(bench.target).image("churn")
    done = bench.run("rebase", "churn", "--base", new, "--json")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    evidence = [bench.run("inspect", "churn", option).stdout for option in ("--sbom", "--provenance")]
    assert all(evidence)
    fresh = bench.receipt("fresh", "-C", f"base_image={new}")
    assert (receipt["digest"], receipt["record"]) == (fresh["digest"], fresh["record"])
    assert receipt["digest"] != str(before.digest)
    assert bench.run("inspect", "fresh", "--sbom").stdout == evidence[0], "the bill is what a build attaches"
    again = bench.run("reproduce", "churn", "-C", f"base_image={new}", "--json")
    assert again.returncode == 0, again.stdout
    assert json.loads(again.stdout)["rebuilt"] == receipt["digest"]
    image = Layout(bench.target).image("churn")
    assert str(image.digest) == receipt["digest"]
    assert problems(image, from_layer=1) == ()
    assert str(before.digest) in {str(each.digest) for each in Layout(bench.target).tags().values()}


@pytest.mark.registry
def test_in_a_registry_config_and_manifest_are_all_that_moves(
    bench: Bench, place: Path, running: RunningRegistry
) -> None:
    base = rootfs_image(place / "bases" / "new.tar", LINUX, place, Compression.GZIP)
    bases = Repository(Registry(running.host), "bases/tiny")
    bases.push(base)
    bases.put_manifest("new", base.manifest, base.media_type)
    target = f"//{running.host}/models"
    bench.receipt("churn", "-t", target)
    for more, says in (((), "1 blobs sent, 1 mounted, "), (("--name", "moved"), "1 blobs sent, ")):
        seen = len(running.log.read_bytes())
        done = bench.run("rebase", "churn", "--base", f"//{bases.reference}:new", "-t", target, "--json", *more)
        assert done.returncode == 0, done.stderr
        receipt = json.loads(done.stdout)
        assert receipt["sent"].startswith(says)
        ours = {layer["digest"] for layer in receipt["record"]["layers"]}
        asked = running.log.read_bytes()[seen:].decode()
        fetched = re.findall(r'"GET /v2/[^ ]+/blobs/(sha256:[0-9a-f]{64})', asked)
        assert fetched
        assert not ours & set(fetched)
    image = Repository(Registry(running.host), "models/moved").image("deployed", LINUX)
    assert problems(image, from_layer=1) == ()
    assert image.digest == Repository(Registry(running.host), "models/churn").image("deployed", LINUX).digest


def test_what_cannot_be_is_told(bench: Bench) -> None:
    exit_code, code, message, _ = error_of(bench.run("rebase", "nobody", "--base", "rootfs:x.tar", "--json"))
    assert (exit_code, code) == (3, "not-deployed")
    assert "nobody" in message
    done = bench.run("rebase", "churn", "--base", f"oci:{bench.target}:churn", "--json")
    assert error_of(done)[:2] == (3, "cannot-rebase")
    done = bench.run("rebase", "churn", "--base", "rootfs:x.tar", "-C", "dry_run=true", "--json")
    assert error_of(done)[:2] == (2, "not-supported")


@pytest.mark.engine
def test_in_an_engine_only_the_layers_of_the_new_base_are_sent(bench: Bench, place: Path, engine) -> None:
    new, target = f"rootfs:{place / 'bases' / 'new.tar'}", ("-t", "docker-daemon:", "--json")
    bench.receipt("in-engine", *target[:2], DOCKER_HOST=engine.host)
    done = bench.run("rebase", "in-engine", "--base", new, *target, DOCKER_HOST=engine.host)
    assert done.returncode == 0, done.stderr
    fresh = bench.receipt("fresh", *target[:2], "-C", f"base_image={new}", DOCKER_HOST=engine.host)
    listed = json.loads(bench.run("list", *target, DOCKER_HOST=engine.host).stdout)
    both = {each["digest"] for each in listed if each["name"] in ("fresh", "in-engine")}
    assert len(both) == 1, "both have the same configuration"
    assert json.loads(done.stdout)["record"] == fresh["record"]
