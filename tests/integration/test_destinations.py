"""Every destination keeps the same promises: names move last, lists tell the truth, deleting is quiet."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.archive import ArchiveDestination
from mlflow_dbimage.destinations.deployment import Destination, TagScheme
from mlflow_dbimage.destinations.engine import EngineDestination
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.destinations.loaded import LoadedDestination
from mlflow_dbimage.destinations.registry import RegistryDestination
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image, RunConfig, append
from mlflow_dbimage.oci.registry import Registry
from mlflow_dbimage.progress import SilentProgress
from oci_samples import small_image
from services.registry_server import registry_server
from unit.test_build_receipt import RECORD

LINUX = Platform("linux", "amd64")
QUIET = SilentProgress()


@pytest.fixture(scope="module")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        yield running.host


def layout(tmp_path: Path, scheme: dict[str, bool], request: pytest.FixtureRequest) -> Destination:
    return LayoutDestination(tmp_path / "images", TagScheme(named=True, **scheme))


def archive(tmp_path: Path, scheme: dict[str, bool], request: pytest.FixtureRequest) -> Destination:
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return ArchiveDestination(tmp_path / "image.tar", TagScheme(named=False, **scheme), tmp_path / "scratch")


def registry(tmp_path: Path, scheme: dict[str, bool], request: pytest.FixtureRequest) -> Destination:
    host = request.getfixturevalue("registry_host")
    tags = TagScheme(named=False, **scheme)
    return RegistryDestination(Registry(host), f"t{abs(hash(tmp_path))}", "{prefix}/{name}", tags, LINUX)


def one_repository(tmp_path: Path, scheme: dict[str, bool], request: pytest.FixtureRequest) -> Destination:
    host = request.getfixturevalue("registry_host")
    tags = TagScheme(named=True, **scheme)
    return RegistryDestination(Registry(host), f"one{abs(hash(tmp_path))}", "{prefix}", tags, LINUX)


def engine(tmp_path: Path, scheme: dict[str, bool], request: pytest.FixtureRequest) -> Destination:
    from mlflow_dbimage.backends.docker_engine import DockerEngine

    request.getfixturevalue("engine_found")
    found = DockerEngine.find()
    assert found is not None
    request.addfinalizer(found.close)
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return EngineDestination(
        found, f"t{abs(hash(tmp_path))}", TagScheme(named=False, **scheme), tmp_path / "scratch"
    )


def loaded(tmp_path: Path, scheme: dict[str, bool], request: pytest.FixtureRequest) -> Destination:
    copies = engine(tmp_path, scheme, request)
    assert isinstance(copies, EngineDestination)
    return LoadedDestination(layout(tmp_path, scheme, request), copies)


KINDS = [
    layout,
    archive,
    pytest.param(registry, marks=pytest.mark.registry),
    pytest.param(one_repository, marks=pytest.mark.registry),
    pytest.param(engine, marks=pytest.mark.engine),
    pytest.param(loaded, marks=pytest.mark.engine),
]
Opener = Callable[[Path, dict[str, bool], pytest.FixtureRequest], Destination]


def image_of(tmp_path: Path, version: str) -> tuple[Image, ImageRecord]:
    record = dataclasses.replace(RECORD, model_version=version)
    plain = small_image(tmp_path / "blobs", seed=version)
    labels = record.to_labels()
    return append(plain, [], RunConfig(labels=labels, entrypoint=["/x"]), annotations=labels), record


def deploy(destination: Destination, name: str, tmp_path: Path, version: str) -> Image:
    image, record = image_of(tmp_path, version)
    destination.write(name, image, QUIET)
    destination.set_name(name, image, record)
    return image


@pytest.mark.parametrize("opener", KINDS)
def test_the_life_of_a_deployment(opener: Opener, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    destination = opener(tmp_path, {}, request)
    assert destination.deployments() == ()
    assert destination.deployment("churn") is None
    deploy(destination, "churn", tmp_path, "1")
    second = deploy(destination, "churn", tmp_path, "2")
    again = opener(tmp_path, {}, request)  # another process sees the same
    found = again.deployment("churn")
    assert found is not None
    assert found.record is not None
    assert (found.name, found.record.model_version) == ("churn", "2")
    assert [each.name for each in again.deployments()] == ["churn"]
    assert again.image("churn").labels == second.labels
    assert destination.delete("churn") is True
    assert destination.delete("churn") is False
    assert again.deployment("churn") is None
    assert again.deployments() == ()
    with pytest.raises(InputError) as caught:
        again.image("churn")
    assert caught.value.code == "not-deployed"


@pytest.mark.parametrize("opener", [kind for kind in KINDS if kind is not archive])
def test_a_written_image_without_a_name_is_not_deployed(
    opener: Opener, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    destination = opener(tmp_path, {}, request)
    deploy(destination, "churn", tmp_path, "1")
    image, _ = image_of(tmp_path, "2")
    destination.write("churn", image, QUIET)
    found = destination.deployment("churn")
    assert found is not None
    assert found.record is not None
    assert found.record.model_version == "1"


@pytest.mark.parametrize("opener", [kind for kind in KINDS if kind is not archive])
def test_names_that_begin_alike_are_kept_apart(
    opener: Opener, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    destination = opener(tmp_path, {}, request)
    deploy(destination, "churn", tmp_path, "1")
    deploy(destination, "churn-eu", tmp_path, "2")
    assert destination.delete("churn")
    assert [each.name for each in destination.deployments()] == ["churn-eu"]


@pytest.mark.parametrize("opener", KINDS)
def test_immutable_tags_and_the_highest_version(
    opener: Opener, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    destination = opener(tmp_path, {"immutable": True}, request)
    for version in ("9", "10") if opener is not archive else ("10",):
        deploy(destination, "churn", tmp_path, version)
    found = destination.deployment("churn")
    assert found is not None
    assert found.record is not None
    assert found.record.model_version == "10"
    assert all("-" in tag for tag in found.tags)


@pytest.mark.registry
def test_names_with_dots_are_folders_of_a_registry(tmp_path: Path, registry_host: str) -> None:
    destination = RegistryDestination(
        Registry(registry_host), "uc", "{prefix}/{name}", TagScheme(named=False), LINUX
    )
    deploy(destination, "main.sales.churn", tmp_path, "1")
    assert [each.name for each in destination.deployments()] == ["main.sales.churn"]
    assert "uc/main/sales/churn" in (Registry(registry_host).catalog() or ())


@pytest.mark.registry
def test_a_registry_without_a_catalogue_keeps_names_in_an_index(
    tmp_path: Path, registry_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "catalog", lambda self: None)
    monkeypatch.setattr(Registry, "has_catalog", lambda self: False)
    destination = RegistryDestination(
        Registry(registry_host), "nocat", "{prefix}/{name}", TagScheme(named=False), LINUX
    )
    assert destination.deployments() == ()
    deploy(destination, "churn", tmp_path, "1")
    deploy(destination, "price", tmp_path, "2")
    assert [each.name for each in destination.deployments()] == ["churn", "price"]
    destination.delete("churn")
    assert [each.name for each in destination.deployments()] == ["price"]


def test_an_archive_of_another_deployment_is_not_overwritten(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    destination = archive(tmp_path, {}, request)
    deploy(destination, "churn", tmp_path, "1")
    before = (tmp_path / "image.tar").read_bytes()
    with pytest.raises(InputError, match="holds `churn`"):
        deploy(destination, "price", tmp_path, "2")
    assert (tmp_path / "image.tar").read_bytes() == before


@pytest.mark.peers
def test_skopeo_reads_tags_of_a_layout(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    image = deploy(layout(tmp_path, {}, request), "churn", tmp_path, "3")
    for tag in ("churn", "churn-v3", f"churn-v3-{image.digest.short}"):
        done = subprocess.run(
            ["skopeo", "inspect", f"oci:{tmp_path}/images:{tag}"], capture_output=True, check=True
        )
        assert json.loads(done.stdout)["Digest"] == str(image.digest)
