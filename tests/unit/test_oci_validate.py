"""Every rule of an image, each broken once."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER_TAR
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image, canonical_json
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.tar import whiteouts
from mlflow_dbimage.oci.validate import problems
from oci_samples import foreign_tar, image_of, plain_layer, small_image, without_blobs


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return small_image(tmp_path, layers=3)


def with_manifest(image: Image, **changes: Any) -> Image:
    return replace(image, manifest=canonical_json({**json.loads(image.manifest), **changes}))


def with_config(image: Image, **changes: Any) -> Image:
    """Another config, which the manifest knows."""
    config = canonical_json({**json.loads(image.config), **changes})
    described = {**json.loads(image.manifest)["config"], "digest": str(Digest.of(config)), "size": len(config)}
    return with_manifest(replace(image, config=config), config=described)


def of_tar(data: bytes) -> tuple[str, ...]:
    return problems(image_of(plain_layer(data)))


def test_what_we_make_has_no_problems(image: Image, tmp_path: Path) -> None:
    assert problems(image) == ()
    hiding = as_layer(write_layer(whiteouts(["opt/x", "y"], {}), tmp_path, Compression.ZSTD))
    assert problems(image_of(image.layers[0], hiding)) == ()


def test_another_config_than_the_manifest_says(image: Image) -> None:
    changed = replace(image, config=image.config + b" ")
    assert len(problems(changed)) == 2
    assert "of the config" in problems(changed)[0]
    assert "bytes of the config" in problems(changed)[1]


def test_other_layers_than_the_manifest_lists(image: Image) -> None:
    found = problems(replace(image, layers=image.layers[:2]))
    assert found == (
        "the manifest lists other layers than the image has",
        "the config lists other diff IDs than the layers have",
    )


def test_a_history_of_another_length(image: Image) -> None:
    history = json.loads(image.config)["history"]
    assert problems(with_config(image, history=history[1:])) == ("the history describes 2 layers of 3",)
    assert problems(with_config(image, history=[{"empty_layer": True}, *history])) == ()


@pytest.mark.parametrize("key", ["os", "architecture"])
def test_a_config_without_a_platform(key: str, image: Image) -> None:
    assert problems(with_config(image, **{key: ""})) == (f"the config states no `{key}`",)


def test_media_types_must_fit(image: Image) -> None:
    assert "says that it is" in problems(with_manifest(image, mediaType=DOCKER_MANIFEST))[0]
    assert (
        "is no media type of a manifest"
        in problems(replace(with_manifest(image, mediaType=OCI_INDEX), media_type=OCI_INDEX))[0]
    )
    docker = replace(with_manifest(image, mediaType=DOCKER_MANIFEST), media_type=DOCKER_MANIFEST)
    assert len(problems(docker)) == 4  # config and three layers
    first = replace(image.layers[0], descriptor=replace(image.layers[0].descriptor, media_type=DOCKER_LAYER_GZIP))
    layers = (first, *image.layers[1:])
    mixed = with_manifest(replace(image, layers=layers), layers=[each.descriptor.to_dict() for each in layers])
    assert problems(mixed) == (
        f"layer 0 has the media type `{DOCKER_LAYER_GZIP}`, which a manifest of that type lacks",
    )


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"config": {}, "layers": []}'])
def test_documents_that_cannot_be_read(manifest: bytes, image: Image) -> None:
    (problem,) = problems(replace(image, manifest=manifest))
    assert problem.startswith("manifest or config cannot be read")


def test_wrong_bytes_are_told_in_every_way(image: Image) -> None:
    digest = image.layers[1].descriptor.digest
    with image.layers[0].open() as stream:
        other = stream.read()
    found = problems(without_blobs(image, {digest: other}))
    assert len(found) == 2 + (len(other) != image.layers[1].descriptor.size)
    assert found[0].startswith("layer 1: its bytes have the digest")
    assert "has the diff ID" in found[-1]


def test_a_blob_that_cannot_be_read(image: Image) -> None:
    digest = image.layers[1].descriptor.digest
    with image.layers[1].open() as stream:
        data = stream.read()
    for wrong in (data[:-9], b"", b"nonsense"):
        (problem, *_) = problems(without_blobs(image, {digest: wrong}))
        assert problem.startswith("layer 1: ")


def test_layers_below_are_not_opened(image: Image) -> None:
    mixed = replace(image, layers=(*without_blobs(image).layers[:2], image.layers[2]))
    assert problems(mixed, from_layer=2) == ()


@pytest.mark.parametrize(
    ("members", "changes", "problem"),
    [
        ([("a", b""), ("a", b"")], {}, "`a` stands twice"),
        ([("a", None), ("a/", None)], {}, "`a` stands twice"),
        ([("b", b""), ("a", b"")], {}, "`a` is out of order"),
        ([("a/b", b"")], {}, "the directory of `a/b` has no entry before it"),
        ([("..", None)], {}, "`..` leaves the root, or is no plain path"),
        ([("./a", b"")], {}, "`./a` leaves the root, or is no plain path"),
        ([("a", b"")], {"mode": 0o4755}, "`a` changes the user that runs it"),
        ([("a", b"")], {"mode": 0o2755}, "`a` changes the user that runs it"),
        ([("a", b"")], {"type": tarfile.CHRTYPE}, "`a` is no file, directory or symbolic link"),
        ([("a", b"")], {"type": tarfile.LNKTYPE}, "`a` is no file, directory or symbolic link"),
        ([("a", b"")], {"mtime": 0}, "`a` has the time 0, not 315532801"),
        ([(".wh.a", b""), ("b", b"")], {}, "it mixes whiteouts with files, which some engines show wrongly"),
        ([("d", None), ("d/.wh..wh..opq", b""), ("d/x", "y")], {}, "it mixes whiteouts with files"),
    ],
)
def test_rules_of_our_layers(members: list[Any], changes: dict[str, Any], problem: str) -> None:
    found = of_tar(foreign_tar(members, **changes))
    assert any(each.startswith(f"layer 0: {problem}") for each in found), found


def test_an_absolute_path() -> None:
    assert "layer 0: `/a` leaves the root, or is no plain path" in of_tar(foreign_tar([("/a", b"")]))


def test_directories_may_have_set_group_bits() -> None:
    assert of_tar(foreign_tar([("a", None)], mode=0o2775)) == ()


def test_files_may_be_executable() -> None:
    assert of_tar(foreign_tar([("a", b"")], mode=0o755)) == ()


def test_all_that_is_wrong_is_listed(image: Image) -> None:
    broken = plain_layer(foreign_tar([("b", b""), ("a", b""), ("a", b"")], mode=0o4755, mtime=5))
    found = problems(with_config(image_of(broken, broken), history=[], os=""))
    assert len(found) == 2 + 2 * 8
    assert {each.partition(":")[0] for each in found[2:]} == {"layer 0", "layer 1"}


def test_bytes_after_the_archive_belong_to_the_layer() -> None:
    assert of_tar(foreign_tar([("a", b"")]) + bytes(50_000)) == ()
    layer = plain_layer(foreign_tar([("a", b"")]))
    with layer.open() as stream:
        longer = stream.read() + bytes(512)
    found = problems(replace(image_of(layer), layers=(replace(layer, open=lambda: io.BytesIO(longer)),)))
    assert len(found) == 3
    assert layer.descriptor.media_type == OCI_LAYER_TAR
