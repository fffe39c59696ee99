"""Written, proven, named: in every kind of destination, and what a failure leaves there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.docker_engine import DockerEngine
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.destinations.archive import ArchiveDestination
from mlflow_dbimage.destinations.deployment import Destination, TagScheme
from mlflow_dbimage.destinations.engine import EngineDestination
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.destinations.registry import RegistryDestination
from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.image_check import Mode
from mlflow_dbimage.image_proof import Candidate
from mlflow_dbimage.oci.image import RunConfig, append
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.publication import Publisher
from mlflow_dbimage.verification import VerificationReport
from proof_tools import proof_tools
from score_images import LINUX, score_image

GOOD = "dev.example.note"
SCHEME = TagScheme(named=False)


def candidate(folder: Path, note: str) -> Candidate:
    """An image whose files are right unless its note is a secret."""
    image = score_image(folder / "blobs")
    record = ImageRecord.from_labels(image.labels)
    assert record is not None
    own = image.layers[-1]
    layers = (
        LayerRecord(
            kind="scoring",
            digest=str(own.descriptor.digest),
            diff_id=str(own.diff_id),
            size=own.descriptor.size,
            contents=(),
        ),
    )
    record = replace(record, layers=layers)
    return Candidate(
        image=append(image, [], RunConfig(labels={**record.to_labels(), GOOD: note})),
        record=record,
        expected=lambda: None,
    )


def publish(
    destination: Destination,
    found: Candidate,
    folder: Path,
    mode: Mode = "static",
    may: Callable[[], None] = lambda: None,
) -> str:
    publisher = Publisher(destination=destination, mode=mode, tools=proof_tools(BuildCache(folder / "cache")))

    def ready(report: VerificationReport) -> tuple[str, ...]:
        may()
        return ()

    return publisher.publish("churn", found, ready).deployment.reference


@pytest.fixture
def layout(tmp_path: Path) -> Destination:
    return LayoutDestination(tmp_path / "images", TagScheme(named=True))


@pytest.fixture
def archive(tmp_path: Path) -> Destination:
    return ArchiveDestination(tmp_path / "image.tar", SCHEME, tmp_path)


@pytest.fixture
def in_registry(registry, tmp_path: Path) -> Destination:
    return RegistryDestination(Registry(registry.host), tmp_path.name, "{prefix}/{name}", SCHEME, LINUX)


@pytest.fixture
def in_engine(engine_found, tmp_path: Path) -> Iterator[Destination]:
    found = DockerEngine.find()
    assert found is not None
    yield EngineDestination(found, f"t{abs(hash(tmp_path.name))}", SCHEME, tmp_path)
    found.close()


EVERYWHERE = [
    "layout",
    "archive",
    pytest.param("in_registry", marks=pytest.mark.registry),
    pytest.param("in_engine", marks=pytest.mark.engine),
]


@pytest.fixture(params=EVERYWHERE)
def destination(request: pytest.FixtureRequest) -> Destination:
    return request.getfixturevalue(request.param)


def state(destination: Destination) -> tuple[str, tuple[str, ...]] | None:
    found = destination.deployment("churn")
    return None if found is None else (found.digest, found.tags)


def test_what_is_proven_gets_its_names_and_no_other(destination: Destination, tmp_path: Path):
    found = candidate(tmp_path, "one")
    publish(destination, found, tmp_path)
    deployed = state(destination)
    assert deployed is not None
    assert deployed[0] in (str(found.image.digest), str(found.image.config_descriptor.digest))
    assert not [tag for tag in deployed[1] if "verify" in tag]


def test_what_fails_leaves_every_name_where_it_was(destination: Destination, tmp_path: Path):
    publish(destination, candidate(tmp_path, "one"), tmp_path)
    before = state(destination)
    bad = candidate(tmp_path, "dapi" + "0123456789abcdef" * 2)
    with pytest.raises(VerificationError, match="a token of Databricks in the image's config") as caught:
        publish(destination, bad, tmp_path)
    assert caught.value.code == "not-proven"
    assert caught.value.details["verification"]["outcome"] == "failed"
    assert state(destination) == before


def test_where_nothing_was_nothing_is(destination: Destination, tmp_path: Path):
    with pytest.raises(VerificationError):
        publish(destination, candidate(tmp_path, "dapi" + "0123456789abcdef" * 2), tmp_path)
    assert state(destination) is None
    assert destination.deployments() == ()


def test_a_name_that_was_taken_meanwhile_is_left(destination: Destination, tmp_path: Path):
    publish(destination, candidate(tmp_path, "one"), tmp_path)
    before = state(destination)

    def taken() -> None:
        raise InputError("already-deployed", "somebody was faster")

    with pytest.raises(InputError, match="somebody was faster"):
        publish(destination, candidate(tmp_path, "two"), tmp_path, may=taken)
    assert state(destination) == before


@pytest.mark.registry
def test_in_a_registry_the_image_has_a_tag_while_it_is_proven(registry, in_registry: Destination, tmp_path: Path):
    found = candidate(tmp_path, "one")
    seen: list[tuple[str, ...]] = []
    repository = Repository(Registry(registry.host), f"{tmp_path.name}/churn")
    publish(in_registry, found, tmp_path, "auto", lambda: seen.append(repository.tags()))
    assert seen == [(f"verify-{found.image.digest.short}",)]
    assert sorted(repository.tags()) == sorted(state(in_registry)[1])  # type: ignore[index]


@pytest.mark.registry
@pytest.mark.parametrize(("immutable", "mode"), [(True, "auto"), (False, "static"), (False, "none")])
def test_where_tags_never_move_or_nothing_is_run_it_has_none(
    registry, tmp_path: Path, immutable: bool, mode: Mode
):
    scheme = TagScheme(named=False, immutable=immutable)
    host = Registry(registry.host)
    destination = RegistryDestination(host, tmp_path.name, "{prefix}/{name}", scheme, LINUX)
    seen: list[tuple[str, ...]] = []
    repository = Repository(host, f"{tmp_path.name}/churn")
    publish(destination, candidate(tmp_path, "one"), tmp_path, mode, lambda: seen.append(repository.tags()))
    assert seen == [()]


def test_layers_that_were_not_sent_are_read_where_they_are(layout: Destination, tmp_path: Path):
    found = candidate(tmp_path, "one")
    publish(layout, found, tmp_path)
    for layer in found.image.layers:
        with layout.open_blob("churn", layer.descriptor) as stream, layer.open() as own:
            assert stream.read() == own.read()
