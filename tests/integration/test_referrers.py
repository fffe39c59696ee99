"""What refers to an image is attached, listed and read, in a layout and in a registry that keeps no such lists."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from oras.client import OrasClient

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.artifact import Artifact, referrers_tag
from mlflow_dbimage.oci.descriptor import OCI_INDEX
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.layout_referrers import LayoutReferrers
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.registry_referrers import RepositoryReferrers
from oci_samples import small_image
from services.registry_server import RunningRegistry, registry_server


def artifact(image: Image, kind: str, data: bytes) -> Artifact:
    return Artifact(
        artifact_type=f"application/vnd.example.{kind}",
        contents=(("application/json", data),),
        subject=image.descriptor,
        annotations={"org.opencontainers.image.title": kind},
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


def test_a_layout_lists_what_refers_to_an_image(tmp_path: Path) -> None:
    image, other = small_image(tmp_path / "a"), small_image(tmp_path / "b", seed="other")
    layout = Layout(tmp_path / "layout")
    for each, tag in ((image, "churn"), (other, "other")):
        layout.write_image(each)
        layout.set_tags({tag: each.descriptor})
    there = LayoutReferrers(layout)
    assert there.list(image.digest) == ()
    made = [artifact(image, "sbom", b"1"), artifact(image, "report", b"2")]
    for each in (*made, made[0]):
        there.attach(image.digest, [each])
    found = there.list(image.digest)
    assert {each.artifact_type for each in found} == {each.artifact_type for each in made}
    assert len(found) == 2
    assert there.list(other.digest) == ()
    assert {there.content(each) for each in found} == {b"1", b"2"}
    assert json.loads(layout.read(found[0].descriptor))["subject"]["digest"] == str(image.digest)


def test_what_is_attached_outlives_the_collection_of_garbage(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mlflow_dbimage.oci.layout._GRACE_SECONDS", 0.0)
    image = small_image(tmp_path / "a")
    layout = Layout(tmp_path / "layout")
    layout.write_image(image)
    layout.set_tags({"churn": image.descriptor})
    LayoutReferrers(layout).attach(image.digest, [artifact(image, "sbom", b"content")])
    layout.garbage_collect()
    (found,) = LayoutReferrers(layout).list(image.digest)
    assert LayoutReferrers(layout).content(found) == b"content"


def test_an_artifact_without_content_is_told_of(tmp_path: Path) -> None:
    image = small_image(tmp_path / "a")
    layout = Layout(tmp_path / "layout")
    layout.write_image(image)
    empty = Artifact(artifact_type="application/vnd.example", contents=(), subject=image.descriptor)
    LayoutReferrers(layout).attach(image.digest, [empty])
    (found,) = LayoutReferrers(layout).list(image.digest)
    with pytest.raises(InputError, match="has no content"):
        LayoutReferrers(layout).content(found)


def test_a_damaged_list_of_a_layout_is_told_of(tmp_path: Path) -> None:
    image = small_image(tmp_path / "a")
    layout = Layout(tmp_path / "layout")
    layout.write_image(image)
    layout.set_tags({referrers_tag(image.digest): image.descriptor})
    with pytest.raises(InputError, match="what refers to"):
        LayoutReferrers(layout).list(image.digest)


@pytest.mark.registry
def test_a_registry_without_lists_keeps_them_under_a_tag(running: RunningRegistry, tmp_path: Path) -> None:
    registry = Registry(running.host)
    repository = Repository(registry, "team/churn")
    image = small_image(tmp_path)
    repository.push(image)
    there = RepositoryReferrers(registry, repository)
    assert there.list(image.digest) == ()
    made = [artifact(image, kind, kind.encode()) for kind in ("sbom", "report")]
    for each in (made[:1], made, made):
        there.attach(image.digest, each)
    found = there.list(image.digest)
    assert {each.artifact_type for each in found} == {
        "application/vnd.example.sbom",
        "application/vnd.example.report",
    }
    assert {each.annotations["org.opencontainers.image.title"] for each in found} == {"sbom", "report"}
    assert {there.content(each) for each in found} == {b"sbom", b"report"}
    assert repository.tags() == (referrers_tag(image.digest),)


@pytest.mark.registry
def test_a_manifest_of_another_form_lies_under_a_tag(running: RunningRegistry, tmp_path: Path) -> None:
    image, other = small_image(tmp_path / "a"), small_image(tmp_path / "b", layers=1, seed="other")
    registry = Registry(running.host)
    layout = Layout(tmp_path / "layout")
    layout.write_image(image)
    there = RepositoryReferrers(registry, Repository(registry, "team/tagged"))
    blobs = [other.config]
    for layer in other.layers:
        with layer.open() as stream:
            blobs.append(stream.read())
    for store in (LayoutReferrers(layout), there):
        assert store.tagged("sha256-0.sig") is None
        store.put_tagged("sha256-0.sig", other.manifest, blobs)
        assert store.tagged("sha256-0.sig") == other.manifest
        assert store.blob(other.config_descriptor) == other.config


@pytest.mark.registry
@pytest.mark.peers
def test_skopeo_reads_the_list_and_the_artifacts(running: RunningRegistry, tmp_path: Path) -> None:
    registry = Registry(running.host)
    repository = Repository(registry, "team/peers")
    image = small_image(tmp_path)
    repository.push(image)
    RepositoryReferrers(registry, repository).attach(image.digest, [artifact(image, "sbom", b"content")])

    def raw(reference: str) -> dict:
        place = f"docker://{running.host}/team/peers{reference}"
        command = ["skopeo", "inspect", "--tls-verify=false", "--raw", place]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    (listed,) = raw(f":{referrers_tag(image.digest)}")["manifests"]
    assert listed["artifactType"] == "application/vnd.example.sbom"
    assert raw(f"@{listed['digest']}")["subject"]["digest"] == str(image.digest)


@pytest.mark.registry
def test_oras_reads_the_list_and_pulls_an_artifact_by_its_digest(running: RunningRegistry, tmp_path: Path) -> None:
    registry = Registry(running.host)
    repository = Repository(registry, "team/oras")
    image = small_image(tmp_path)
    repository.push(image)
    RepositoryReferrers(registry, repository).attach(image.digest, [artifact(image, "sbom", b"content")])
    client, place = OrasClient(insecure=True), f"{running.host}/team/oras"
    listed = client.get_manifest(f"{place}:{referrers_tag(image.digest)}", allowed_media_type=[OCI_INDEX])
    (entry,) = listed["manifests"]
    assert entry["artifactType"] == "application/vnd.example.sbom"
    assert client.get_manifest(f"{place}@{entry['digest']}")["subject"]["digest"] == str(image.digest)
    (pulled,) = client.pull(f"{place}@{entry['digest']}", outdir=str(tmp_path / "pulled"))
    assert (Path(pulled).name, Path(pulled).read_bytes()) == ("sbom", b"content")
