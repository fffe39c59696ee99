"""Archives for Docker, ours and what `docker save` writes."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import archive_names, read_archive, write_archive
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append, canonical_json
from mlflow_dbimage.oci.validate import problems
from oci_samples import foreign_tar, image_of, plain_layer, small_image, without_blobs

NAMES = ("churn:v3", "churn:deployed")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    made = small_image(tmp_path / "made", layers=3)
    return append(made, [], RunConfig(), annotations={"only": "the manifest has it"})


def packed(image: Image, names: tuple[str, ...] = NAMES, omit: frozenset[Digest] = frozenset()) -> bytes:
    out = io.BytesIO()
    write_archive(image, names, out, omit=omit)
    return out.getvalue()


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "image.tar"
    path.write_bytes(data)
    return path


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive.getmembers() if each.isreg()}


def old_archive(image: Image, change: Callable[[list[Any]], Any] = lambda members: members) -> bytes:
    """As Docker 20.10 saves: a folder for each layer, equal layers as links, no index."""
    members: list[Any] = []
    layers: list[str] = []
    first: dict[Digest, str] = {}
    for position, layer in enumerate(image.layers):
        name = f"{position:064x}/layer.tar"
        known = first.setdefault(layer.diff_id, name)
        with layer.open() as stream:
            members.append((name, stream.read() if known == name else f"../{known}"))
        members.append((f"{position:064x}/VERSION", b"1.0"))
        layers.append(name)
    config = f"{Digest.of(image.config).hex}.json"
    manifest = [{"Config": config, "RepoTags": ["base:1"], "Layers": layers}]
    members += [(config, image.config), ("manifest.json", json.dumps(manifest).encode())]
    return foreign_tar(change(members))


@pytest.fixture
def old_image() -> Image:
    same = plain_layer(foreign_tar([("a", b"a")]))
    return image_of(same, plain_layer(foreign_tar([("b", b"b" * 4000)])), same)


def test_an_image_is_read_back_with_its_digest(image: Image, tmp_path: Path) -> None:
    back = read_archive(saved(tmp_path, packed(image)), tmp_path / "scratch")
    assert (back.manifest, back.config) == (image.manifest, image.config)
    assert back.annotations == {"only": "the manifest has it"}
    assert problems(back) == ()
    assert not (tmp_path / "scratch").exists()
    assert archive_names(tmp_path / "image.tar") == NAMES


def test_equal_images_give_equal_bytes(image: Image) -> None:
    assert packed(image) == packed(image)


def test_the_archive_is_both_a_layout_and_dockers(image: Image) -> None:
    files = contents(packed(image, ("acme.io/x/churn:1", "churn:2", "x/churn:3", "localhost/churn:4")))
    entries = json.loads(files["index.json"])["manifests"]
    assert [entry["annotations"] for entry in entries] == [
        {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": str(tag)}
        for tag, name in enumerate(
            [
                "acme.io/x/churn:1",
                "docker.io/library/churn:2",
                "docker.io/x/churn:3",
                "localhost/churn:4",
            ],
            start=1,
        )
    ]
    assert {entry["digest"] for entry in entries} == {str(image.digest)}
    (manifest,) = json.loads(files["manifest.json"])
    assert files[manifest["Config"]] == image.config
    assert [Digest.of(files[name]) for name in manifest["Layers"]] == [
        layer.descriptor.digest for layer in image.layers
    ]
    assert files["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'


def test_without_names_the_index_still_has_the_image(image: Image) -> None:
    (entry,) = json.loads(contents(packed(image, ()))["index.json"])["manifests"]
    assert entry == image.descriptor.to_dict()


def test_omitted_layers_are_named_but_never_opened(image: Image, tmp_path: Path) -> None:
    every = frozenset(layer.descriptor.digest for layer in image.layers)
    data = packed(without_blobs(image), omit=every)
    assert len(data) < 20_000
    (manifest,) = json.loads(contents(data)["manifest.json"])
    assert len(manifest["Layers"]) == 3
    with pytest.raises(InputError, match="it lacks `blobs/sha256/"):
        read_archive(saved(tmp_path, data), tmp_path)


def test_a_layer_that_stands_twice_is_written_once(old_image: Image, tmp_path: Path) -> None:
    back = read_archive(saved(tmp_path, packed(old_image)), tmp_path)
    assert back.digest == old_image.digest
    assert len({layer.descriptor.digest for layer in back.layers}) == 2
    assert problems(back) == ()


def test_a_layer_of_another_size_is_not_written(image: Image) -> None:
    wrong = without_blobs(image, {image.layers[0].descriptor.digest: b"short"})
    with pytest.raises(VerificationError):
        packed(wrong)


def test_old_archives_are_read_without_unpacking(old_image: Image, tmp_path: Path) -> None:
    back = read_archive(saved(tmp_path, old_archive(old_image)), tmp_path / "scratch")
    assert back.config == old_image.config
    assert {layer.descriptor.media_type for layer in back.layers} == {OCI_LAYER_TAR}
    assert problems(back) == ()
    assert not (tmp_path / "scratch").exists()


def test_compressed_layers_in_old_archives_get_their_digest(image: Image, tmp_path: Path) -> None:
    back = read_archive(saved(tmp_path, old_archive(image)), tmp_path)
    assert [layer.descriptor for layer in back.layers] == [layer.descriptor for layer in image.layers]
    assert problems(back) == ()


def test_a_manifest_of_other_layers_than_the_archive_has_is_passed_over(
    old_image: Image, image: Image, tmp_path: Path
) -> None:
    """An engine may keep layers compressed, name them in its index, and save them plain."""
    config = json.loads(old_image.manifest)["config"]
    other = canonical_json({**json.loads(image.manifest), "config": config})
    entry = {**image.descriptor.to_dict(), "digest": str(Digest.of(other)), "size": len(other)}
    extra = [
        (f"blobs/sha256/{Digest.of(other).hex}", other),
        ("index.json", canonical_json({"schemaVersion": 2, "manifests": [entry]})),
    ]
    path = saved(tmp_path, old_archive(old_image, lambda members: [*extra, *members]))
    assert problems(read_archive(path, tmp_path)) == ()


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_compressed_archives_are_read_through_the_scratch_folder(
    compress: Callable[[bytes], bytes], image: Image, tmp_path: Path
) -> None:
    path = saved(tmp_path, compress(packed(image)))
    scratch = tmp_path / "scratch"
    assert read_archive(path, scratch).digest == read_archive(path, scratch).digest == image.digest
    assert problems(read_archive(path, scratch)) == ()
    assert len(list(scratch.iterdir())) == 1


def test_layers_are_verified_as_they_are_read(image: Image, tmp_path: Path) -> None:
    data = bytearray(packed(image))
    with image.layers[1].open() as stream:
        start = data.index(stream.read())
    data[start + 100] ^= 1
    back = read_archive(saved(tmp_path, bytes(data)), tmp_path)
    with (
        back.layers[1].open() as stream,
        pytest.raises(VerificationError, match=str(image.layers[1].descriptor.digest)),
    ):
        stream.read()
    assert len(problems(back)) == 1


def changed(change: dict[str, Any]) -> Callable[[list[Any]], list[Any]]:
    def with_manifest(members: list[Any]) -> list[Any]:
        *others, (name, data) = members
        return [*others, (name, json.dumps([{**json.loads(data)[0], **change}]).encode())]

    return with_manifest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda members: members[:-1], "it lacks `manifest.json`"),
        (lambda members: members[1:], "it lacks `0"),
        (lambda members: [("a/layer.tar", "layer.tar"), *members[1:]], "it lacks `0"),
        (lambda members: [*members[:-1], ("manifest.json", b"{")], "is no archive of an image"),
        (lambda members: [*members[:-1], ("manifest.json", b"{}")], "is no list"),
        (lambda members: [*members[:-1], ("manifest.json", b"[]")], "it holds 0 images"),
        (lambda members: [*members[:-1], ("manifest.json", b"[{},{}]")], "it holds 2 images"),
        (lambda members: [*members[:-1], ("manifest.json", b"[3]")], "is no archive of an image"),
        (lambda members: [*members[:-1], ("manifest.json", b"[{}]")], "Config"),
        (
            lambda members: [*members, ("big", b" " * (5 << 20)), *changed({"Config": "big"})(members[-1:])],
            "5242880",
        ),
        (lambda members: [*members, ("loop", "loop"), *changed({"Config": "loop"})(members[-1:])], "is no file"),
        (
            lambda members: [*members, ("up", "../../../etc/hostname"), *changed({"Config": "up"})(members[-1:])],
            "etc/",
        ),
        (changed({"Config": "/etc/passwd"}), "it lacks `/etc/passwd`"),
        (changed({"Layers": []}), "0 layers, and its config 3"),
        (changed({"Layers": 7}), "is no archive of an image"),
    ],
)
def test_hostile_and_broken_archives_are_refused(
    change: Callable[[list[Any]], list[Any]], reason: str, old_image: Image, tmp_path: Path
) -> None:
    path = saved(tmp_path, old_archive(old_image, change))
    with pytest.raises(InputError, match="is no archive of an image") as caught:
        read_archive(path, tmp_path)
    assert reason in caught.value.message
    assert caught.value.code == "base-invalid"


@pytest.mark.parametrize(
    "data", [b"", b"no tar", gzip.compress(b"no tar", mtime=0), gzip.compress(b"x" * 9999, mtime=0)[:-20]]
)
def test_what_is_no_archive_is_told(data: bytes, tmp_path: Path) -> None:
    path = saved(tmp_path, data)
    with pytest.raises(InputError, match="is no archive of an image"):
        read_archive(path, tmp_path)
    with pytest.raises(InputError, match="is no archive of an image"):
        archive_names(path)


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="is no archive of an image"):
            read_archive(path, tmp_path)


def test_another_manifest_than_the_index_says_is_refused(image: Image, tmp_path: Path) -> None:
    data = packed(image).replace(image.manifest, image.manifest.replace(b"the manifest", b"the mAnifest"))
    with pytest.raises(VerificationError, match="has the digest"):
        read_archive(saved(tmp_path, data), tmp_path)


@pytest.mark.peers
def test_skopeo_reads_it_both_ways(image: Image, tmp_path: Path) -> None:
    path = saved(tmp_path, packed(image, ("churn:v3",)))
    for transport in ("docker-archive", "oci-archive"):
        command = ["skopeo", "inspect", "--config", "--raw", f"{transport}:{path}"]
        assert subprocess.run(command, check=True, capture_output=True).stdout == image.config


@pytest.mark.peers
def test_what_skopeo_writes_is_read(image: Image, tmp_path: Path) -> None:
    path, target = saved(tmp_path, packed(image, ("churn:v3",))), tmp_path / "copy.tar"
    command = ["skopeo", "copy", "-q", f"docker-archive:{path}", f"docker-archive:{target}:copy:1"]
    subprocess.run(command, check=True, capture_output=True)
    back = read_archive(target, tmp_path)
    assert [layer.diff_id for layer in back.layers] == [layer.diff_id for layer in image.layers]
    assert problems(back) == ()
    assert archive_names(target) == ("docker.io/library/copy:1",)


@pytest.mark.engine
def test_docker_loads_it_without_layers_that_it_has_and_saves_what_we_read(engine: Any, tmp_path: Path) -> None:
    import docker

    base = small_image(tmp_path / "made", layers=2, seed="engine")
    extra = small_image(tmp_path / "extra", layers=1, seed="extra").layers[0]
    image = append(base, [Addition(layer=extra, created_by="a test")], RunConfig())
    known = frozenset(layer.descriptor.digest for layer in base.layers)
    client = docker.DockerClient(base_url=engine.host)
    try:
        client.images.load(packed(base, ("base:1",)))
        client.images.load(packed(without_blobs(image, {}), ("whole:1",), omit=known))
        assert client.images.get("whole:1").id == str(Digest.of(image.config))
        path = tmp_path / "saved.tar"
        with path.open("wb") as out:
            out.writelines(client.images.get("whole:1").save(named=True))
    finally:
        client.close()
    back = read_archive(path, tmp_path)
    assert back.config == image.config
    assert [layer.diff_id for layer in back.layers] == [layer.diff_id for layer in image.layers]
    assert problems(back) == ()
    assert archive_names(path) == ("whole:1",)
