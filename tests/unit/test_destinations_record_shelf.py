"""Records in a registry: written with the layers that they speak of, and read with suspicion."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.faulty_registry import FaultyRegistry, digest_of, faulty_registry
from mlflow_dbimage.destinations.record_shelf import RegistryShelf
from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.artifact import Artifact
from mlflow_dbimage.oci.descriptor import OCI_MANIFEST
from mlflow_dbimage.oci.registry import Registry, Repository
from oci_samples import small_image

CONTENT = "application/vnd.dbimage.records.v1+json+gzip"


@pytest.fixture
def faulty() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        yield registry


def shelf_of(faulty: FaultyRegistry, template: str = "{prefix}/{name}") -> RegistryShelf:
    return RegistryShelf(Registry(faulty.host), "team", template)


def put(faulty: FaultyRegistry, *contents: tuple[str, bytes]) -> None:
    repository = Repository(Registry(faulty.host), "team/dbimage-cache")
    repository.put_artifact("cache-lock-1", Artifact(artifact_type="a/b", contents=contents))


@pytest.mark.parametrize("template", ["{prefix}/{name}", "{prefix}"])
def test_a_record_is_read_as_it_was_written_and_keeps_its_layers(
    faulty: FaultyRegistry, template: str, tmp_path: Path
) -> None:
    image = small_image(tmp_path, layers=2)
    own = "team" if template == "{prefix}" else "team/churn"
    Repository(Registry(faulty.host), own).push(image)
    sent = faulty.count("PATCH")
    shelf = shelf_of(faulty, template)
    layers = [layer.descriptor for layer in image.layers]
    assert not shelf.has("environment-1")
    assert shelf.read("environment-1") is None
    assert shelf.write("environment-1", b'{"a": 1}', layers, "churn")
    assert shelf.has("environment-1")
    assert shelf.read("environment-1") == b'{"a": 1}'
    assert shelf.missing(layers) == set()
    assert faulty.count("PATCH") - sent == 2, "the record and an empty config are sent, no layer is"
    with shelf.open_blob(layers[0]) as stream:
        assert digest_of(stream.read()) == str(layers[0].digest)
    place = "team" if template == "{prefix}" else "team/dbimage-cache"
    assert shelf.place == f"{faulty.host}/{place}"
    manifest = faulty.manifests[place][faulty.tag_digests[place]["cache-environment-1"]][1]
    assert all(str(each.digest).encode() in manifest for each in layers)


def test_a_registry_that_mounts_nothing_gets_no_record(faulty: FaultyRegistry, tmp_path: Path) -> None:
    faulty.mounts = False
    image = small_image(tmp_path, layers=1)
    Repository(Registry(faulty.host), "team/churn").push(image)
    shelf = shelf_of(faulty)
    assert not shelf.write("environment-1", b"{}", [image.layers[0].descriptor], "churn")
    assert not shelf.has("environment-1")
    assert shelf.write("lock-1", b"{}", [], "churn")


def test_what_is_no_record_is_refused(faulty: FaultyRegistry) -> None:
    shelf = shelf_of(faulty)
    for contents in [
        (),
        (("text/plain", b"{}"),),
        ((CONTENT, b"a"), (CONTENT, b"b")),
        ((CONTENT, b"{}"),),
        ((CONTENT, gzip.compress(b"{}")[:-1]),),
    ]:
        put(faulty, *contents)
        with pytest.raises(ValueError, match="no record|not gzip|cut off"):
            shelf.read("lock-1")
    faulty.put_manifest("team/dbimage-cache", "cache-lock-1", b"[]", OCI_MANIFEST)
    with pytest.raises(InputError, match="no JSON object"):
        shelf.read("lock-1")


def test_a_record_that_unpacks_without_end_is_given_up(
    faulty: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_dbimage.destinations.record_shelf._MOST", 1000)
    put(faulty, (CONTENT, gzip.compress(bytes(10_000))))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        shelf_of(faulty).read("lock-1")


def test_other_bytes_than_the_manifest_says_are_refused(faulty: FaultyRegistry) -> None:
    put(faulty, (CONTENT, gzip.compress(b"{}")))
    blobs = faulty.blobs["team/dbimage-cache"]
    for digest, data in blobs.items():
        blobs[digest] = data[:-1] + b"x"
    with pytest.raises(VerificationError):
        shelf_of(faulty).read("lock-1")
