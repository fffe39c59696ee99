"""The registry client against a real registry, with and without passwords and deletion."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.errors import InputError, ServiceError, VerificationError
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.tombstone import is_tombstone
from mlflow_dbimage.oci.validate import problems
from oci_samples import LINUX, noise, small_image
from services.registry_server import RunningRegistry, registry_server

pytestmark = pytest.mark.registry

LOGIN = ("ann", "canary-password-7f3a")


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry_server(tmp_path_factory.mktemp("registry"), login=LOGIN) as running:
        yield running


@pytest.fixture(scope="module")
def keeping_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry_server(tmp_path_factory.mktemp("registry"), delete=False) as running:
        yield running


def repository(running: RunningRegistry, name: str) -> Repository:
    return Repository(Registry(running.host), name)


def test_what_is_pushed_is_pulled_back_whole(open_registry: RunningRegistry, tmp_path: Path) -> None:
    image = small_image(tmp_path, layers=3, size=3_000_000, seed="round")
    here = repository(open_registry, "round/trip")
    sent: list[int] = []
    pushed = here.push(image, sent.append)
    assert (pushed.uploaded, pushed.mounted, pushed.present) == (4, 0, 0)
    assert sum(sent) == sum(layer.descriptor.size for layer in image.layers)
    here.put_manifest("v1", image.manifest, image.media_type)
    back = here.image("v1", LINUX)
    assert (back.manifest, back.config) == (image.manifest, image.config)
    assert problems(back) == ()
    assert here.image(str(image.digest), LINUX).digest == image.digest


def test_what_is_there_is_not_sent_again(open_registry: RunningRegistry, tmp_path: Path) -> None:
    image = small_image(tmp_path, seed="again")
    here = repository(open_registry, "again")
    here.push(image)
    pushed = here.push(image)
    assert (pushed.uploaded, pushed.mounted, pushed.present) == (0, 0, 3)
    assert pushed.uploaded_bytes == len(image.manifest)


def test_layers_of_another_repository_are_mounted_not_sent(open_registry: RunningRegistry, tmp_path: Path) -> None:
    image = small_image(tmp_path, seed="mount")
    repository(open_registry, "source").push(image)
    base = repository(open_registry, "source").image(str(image.digest), LINUX)
    pushed = repository(open_registry, "target").push(base)
    assert (pushed.mounted, pushed.uploaded) == (2, 1)
    assert problems(repository(open_registry, "target").image(str(image.digest), LINUX)) == ()


def test_layers_of_another_registry_are_streamed_through(
    open_registry: RunningRegistry, keeping_registry: RunningRegistry, tmp_path: Path
) -> None:
    image = small_image(tmp_path, seed="through", size=2_000_000)
    repository(open_registry, "through").push(image)
    elsewhere = repository(open_registry, "through").image(str(image.digest), LINUX)
    assert repository(keeping_registry, "through").push(elsewhere).uploaded == 3
    assert problems(repository(keeping_registry, "through").image(str(image.digest), LINUX)) == ()


def test_a_deleted_tag_leaves_the_other_tags_of_its_image(open_registry: RunningRegistry, tmp_path: Path) -> None:
    image = small_image(tmp_path, seed="delete")
    here = repository(open_registry, "delete")
    here.push(image)
    for tag in ("v1", "deployed"):
        here.put_manifest(tag, image.manifest, image.media_type)
    here.delete_tag("deployed")
    here.delete_tag("never-was")
    assert here.tags() == ("v1",)
    assert here.image("v1", LINUX).digest == image.digest


def test_where_nothing_may_be_deleted_a_tombstone_stays(keeping_registry: RunningRegistry, tmp_path: Path) -> None:
    image = small_image(tmp_path, seed="keep")
    here = repository(keeping_registry, "keep")
    here.push(image)
    for tag in ("v1", "deployed"):
        here.put_manifest(tag, image.manifest, image.media_type)
    here.delete_tag("deployed")
    assert is_tombstone(here.resolve("deployed")[1])
    assert not is_tombstone(here.resolve("v1")[1])


def test_tags_and_repositories_are_listed_over_pages(
    open_registry: RunningRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_dbimage.oci.registry_lists._PAGE", 2)
    image = small_image(tmp_path, seed="pages")
    here = repository(open_registry, "pages")
    here.push(image)
    tags = tuple(f"t{number}" for number in range(5))
    for tag in tags:
        here.put_manifest(tag, image.manifest, image.media_type)
    assert tuple(sorted(here.tags())) == tags
    assert "pages" in (Registry(open_registry.host).catalog() or ())
    assert repository(open_registry, "never-was").tags() == ()


def test_what_does_not_exist_is_named(open_registry: RunningRegistry) -> None:
    with pytest.raises(InputError, match="nothing:v9` does not exist") as caught:
        repository(open_registry, "nothing").image("v9", LINUX)
    assert caught.value.code == "base-not-found"


def test_a_layer_that_lies_about_its_digest_is_refused_and_not_named(
    open_registry: RunningRegistry, tmp_path: Path
) -> None:
    image = small_image(tmp_path, seed="lie")
    first, *rest = image.layers
    size = first.descriptor.size
    lie = tmp_path / "lie"
    lie.write_bytes(noise("other", size))
    broken = replace(image, layers=(replace(first, open=lambda: lie.open("rb")), *rest))
    with pytest.raises(VerificationError) as caught:
        repository(open_registry, "lie").push(broken)
    assert caught.value.code == "digest-mismatch"
    assert repository(open_registry, "lie").missing([first.descriptor]) == {first.descriptor.digest}


def docker_config(directory: Path, host: str, password: str) -> None:
    auth = base64.b64encode(f"{LOGIN[0]}:{password}".encode()).decode()
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def test_a_registry_with_a_password_takes_what_docker_login_kept(
    closed_registry: RunningRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_config(tmp_path / "docker", closed_registry.host, LOGIN[1])
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    image = small_image(tmp_path / "blobs", seed="closed")
    here = repository(closed_registry, "closed")
    assert here.push(image).uploaded == 3
    assert problems(here.image(str(image.digest), LINUX)) == ()


@pytest.mark.parametrize("password", ["canary-wrong-91c2", None])
def test_wrong_or_missing_credentials_are_refused_without_being_repeated(
    closed_registry: RunningRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    if password is not None:
        docker_config(tmp_path / "docker", closed_registry.host, password)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with pytest.raises(ServiceError) as caught:
        repository(closed_registry, "closed").push(small_image(tmp_path / "blobs"))
    assert caught.value.code == "registry-denied"
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


def test_a_registry_that_is_down_is_named() -> None:
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:1") as caught:
        Repository(Registry("127.0.0.1:1"), "a").tags()
    assert caught.value.code == "registry-unreachable"


@pytest.mark.peers
def test_skopeo_reads_what_we_pushed(open_registry: RunningRegistry, tmp_path: Path) -> None:
    image = small_image(tmp_path, seed="skopeo")
    here = repository(open_registry, "skopeo")
    here.push(image)
    here.put_manifest("v1", image.manifest, image.media_type)
    done = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{open_registry.host}/skopeo:v1"],
        capture_output=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert Digest.parse(seen["Digest"]) == image.digest
    assert seen["Layers"] == [str(layer.descriptor.digest) for layer in image.layers]
