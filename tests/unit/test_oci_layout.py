"""OCI image layouts, and two programs that are not ours reading them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.errors import DbimageError, InputError, VerificationError
from mlflow_dbimage.oci.descriptor import DOCKER_MANIFEST, OCI_INDEX, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image, canonical_json
from mlflow_dbimage.oci.layout import REF_NAME, Layout, chosen_of_index
from mlflow_dbimage.oci.validate import problems
from oci_samples import LINUX, small_image, without_blobs

ARM = Platform("linux", "arm64", "v8")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return small_image(tmp_path / "made", layers=3)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def written(layout: Layout, image: Image) -> Layout:
    layout.write_image(image)
    layout.set_tags({"v1": image.descriptor})
    return layout


def blob(layout: Layout, digest: Digest) -> Path:
    return layout.path / "blobs" / "sha256" / digest.hex


def make_old(layout: Layout) -> None:
    for path in layout.path.rglob("*"):
        os.utime(path, (time.time() - 4000,) * 2)


def add_document(layout: Layout, document: object) -> Descriptor:
    data = canonical_json(document)
    digest = Digest.of(data)
    blob(layout, digest).write_bytes(data)
    return Descriptor(media_type=OCI_INDEX, digest=digest, size=len(data))


def add_index(layout: Layout, *images: tuple[Image, Platform | None]) -> Descriptor:
    entries = [replace(each.descriptor, platform=platform).to_dict() for each, platform in images]
    return add_document(layout, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def test_an_image_is_read_back_byte_for_byte(written: Layout, image: Image) -> None:
    back = written.image("v1")
    assert (back.manifest, back.config, back.media_type) == (image.manifest, image.config, image.media_type)
    assert written.image(image.digest).digest == image.digest
    assert problems(back) == ()
    assert {path.name for path in written.path.iterdir()} == {".lock", "blobs", "index.json", "oci-layout"}
    assert json.loads((written.path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert {path.name for path in blob(written, image.digest).parent.iterdir()} == {
        image.digest.hex,
        Digest.of(image.config).hex,
        *(layer.descriptor.digest.hex for layer in image.layers),
    }


def test_writing_sets_no_tag(layout: Layout, image: Image) -> None:
    sizes: list[int] = []
    layout.write_image(image, sizes.append)
    assert layout.tags() == {}
    assert sum(sizes) == sum(layer.descriptor.size for layer in image.layers)
    assert all(layout.has_blob(layer.descriptor.digest) for layer in image.layers)


def test_what_is_there_is_not_written_again(written: Layout, image: Image) -> None:
    written.write_image(without_blobs(image))


def test_a_blob_that_lost_its_end_is_written_again(written: Layout, image: Image) -> None:
    path = blob(written, image.layers[1].descriptor.digest)
    path.write_bytes(path.read_bytes()[:-1])
    written.write_image(image)
    assert problems(written.image("v1")) == ()


def test_equal_layouts_have_equal_files(image: Image, tmp_path: Path) -> None:
    seen = set()
    for name, tags in (("a", ["x", "y"]), ("b", ["y", "x"])):
        layout = Layout(tmp_path / name)
        layout.write_image(image)
        for tag in tags:
            layout.set_tags({tag: image.descriptor})
        seen.add((layout.path / "index.json").read_bytes())
    assert len(seen) == 1


def test_tags_are_set_moved_and_removed_at_once(written: Layout, image: Image, tmp_path: Path) -> None:
    other = small_image(tmp_path / "other", seed="b")
    written.write_image(other)
    written.set_tags({"v1": other.descriptor, "v2": image.descriptor, "absent": None})
    assert {tag: each.digest for tag, each in written.tags().items()} == {"v1": other.digest, "v2": image.digest}
    written.set_tags({"v1": None, "v2": None})
    assert written.tags() == {}


def test_entries_of_others_stay_as_they_are(written: Layout, image: Image) -> None:
    path = written.path / "index.json"
    document = json.loads(path.read_bytes())
    foreign = {**image.descriptor.to_dict(), "artifactType": "a/b", "annotations": {"k": "v"}, "urls": ["u"]}
    path.write_text(json.dumps({**document, "annotations": {"x": "y"}, "manifests": [foreign]}))
    written.set_tags({"mine": image.descriptor})
    written.set_tags({"mine": None})
    after = json.loads(path.read_bytes())
    assert (after["manifests"], after["annotations"]) == ([foreign], {"x": "y"})


def test_a_tag_cannot_point_to_what_is_not_whole(layout: Layout, image: Image) -> None:
    layout.write_image(image)
    blob(layout, image.layers[0].descriptor.digest).unlink()
    with pytest.raises(VerificationError, match="lacks sha256:") as caught:
        layout.set_tags({"v1": image.descriptor})
    assert caught.value.code == "image-invalid"
    assert layout.tags() == {}


def test_wrong_bytes_are_not_written(layout: Layout, image: Image) -> None:
    wrong = without_blobs(image, {image.layers[1].descriptor.digest: b"wrong"})
    with pytest.raises(VerificationError) as caught:
        layout.write_image(wrong)
    assert caught.value.code == "digest-mismatch"
    assert not layout.has_blob(image.layers[1].descriptor.digest)
    assert not layout.has_blob(image.digest)
    assert not list(layout.path.glob(".aside-*"))


def test_layers_are_verified_as_they_are_read(written: Layout, image: Image) -> None:
    descriptor = image.layers[0].descriptor
    path = blob(written, descriptor.digest)
    whole = path.read_bytes()
    for wrong in (whole[:-1], whole + b"x", b"y" + whole[1:]):
        path.write_bytes(wrong)
        layer = written.image("v1").layers[0]
        with layer.open() as stream, pytest.raises(VerificationError) as caught:
            stream.read()
        assert caught.value.code == "digest-mismatch"
        assert str(descriptor.digest) in caught.value.message
    path.write_bytes(whole)
    with written.image("v1").layers[0].open() as stream:
        assert stream.read() == whole


@pytest.mark.parametrize("which", ["manifest", "config"])
def test_manifest_and_config_are_verified_when_an_image_is_opened(
    which: str, written: Layout, image: Image
) -> None:
    path = blob(written, Digest.of(getattr(image, which)))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(VerificationError) as caught:
        written.image("v1")
    assert caught.value.code == "digest-mismatch"


@pytest.mark.parametrize("which", ["manifest", "config"])
def test_missing_documents_are_named(which: str, written: Layout, image: Image) -> None:
    digest = Digest.of(getattr(image, which))
    blob(written, digest).unlink()
    with pytest.raises(InputError, match=f"lacks the blob {digest}"):
        written.image("v1")


def test_a_missing_layer_is_found_when_it_is_opened(written: Layout, image: Image) -> None:
    blob(written, image.layers[2].descriptor.digest).unlink()
    with pytest.raises(InputError, match="lacks the blob"):
        written.image("v1").layers[2].open()


def test_a_document_that_is_far_too_large_is_not_read(written: Layout) -> None:
    data = b" " * (5 << 20)
    blob(written, Digest.of(data)).write_bytes(data)
    with pytest.raises(InputError, match="has 5242880 bytes"):
        written.image(Digest.of(data))


def test_what_is_not_there_is_told_apart(layout: Layout, image: Image) -> None:
    with pytest.raises(InputError, match="is no OCI layout"):
        layout.image("v1")
    layout.write_image(image)
    with pytest.raises(InputError, match="its tags are: none"):
        layout.image("v1")
    layout.set_tags({"a": image.descriptor, "b": image.descriptor})
    with pytest.raises(InputError, match="has no tag `v1`; its tags are: `a`, `b`") as caught:
        layout.image("v1")
    assert caught.value.code == "base-not-found"
    with pytest.raises(InputError, match="has no image sha256:"):
        layout.image(Digest.of(b"else"))


@pytest.mark.parametrize("index", [b"", b"{", b"[]", b"{}", b'{"manifests": 1}', b'{"manifests": [{}]}', b"\xff"])
def test_an_index_that_cannot_be_read_is_told(index: bytes, written: Layout, image: Image) -> None:
    (written.path / "index.json").write_bytes(index)
    for use in (written.tags, lambda: written.image("v1"), written.garbage_collect):
        with pytest.raises(InputError, match="cannot be read") as caught:
            use()
        assert caught.value.code == "base-invalid"


@pytest.mark.parametrize(
    "manifest",
    [{}, [], {"config": {}}, {"config": {"digest": 3}}, {"mediaType": "text/plain"}, {"manifests": [3]}],
)
def test_a_manifest_that_cannot_be_read_is_told(manifest: object, written: Layout) -> None:
    with pytest.raises(InputError) as caught:
        written.image(add_document(written, manifest).digest)
    assert caught.value.code == "base-invalid"


def test_other_diff_ids_than_layers_are_told(written: Layout, image: Image) -> None:
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"].pop()
    descriptor = add_document(written, config)
    manifest = {**json.loads(image.manifest), "config": descriptor.to_dict()}
    with pytest.raises(InputError, match="3 layers, the config 2 diff IDs"):
        written.image(add_document(written, manifest).digest)


def test_the_platform_chooses_in_an_index(written: Layout, image: Image, tmp_path: Path) -> None:
    other = small_image(tmp_path / "arm", seed="arm")
    written.write_image(other)
    unknown = Platform("unknown", "unknown")
    written.set_tags({"multi": add_index(written, (other, unknown), (image, LINUX), (other, ARM))})
    assert written.image("multi", ARM).digest == other.digest
    assert written.image("multi", LINUX).digest == image.digest
    assert written.image("multi").digest == image.digest  # not the attestation, which stands first
    index = written.image("multi", LINUX).index
    assert index is not None
    assert Digest.of(index) == written.tags()["multi"].digest
    assert written.image("v1").index is None
    with pytest.raises(InputError, match="no image for linux/s390x; it has linux/amd64, linux/arm64/v8") as caught:
        written.image("multi", Platform("linux", "s390x"))
    assert caught.value.code == "base-platform"


def test_an_index_without_platforms_or_images_is_told(image: Image) -> None:
    index = canonical_json({"manifests": [image.descriptor.to_dict()]})
    assert chosen_of_index(index, None, "x").digest == image.digest
    with pytest.raises(InputError, match="it has none with a platform"):
        chosen_of_index(index, LINUX, "x")
    with pytest.raises(InputError, match="no image for any platform"):
        chosen_of_index(b'{"manifests": []}', None, "x")


def test_a_manifest_need_not_state_its_type(written: Layout, image: Image) -> None:
    document = json.loads(image.manifest)
    del document["mediaType"]
    assert written.image(add_document(written, document).digest).config == image.config


def test_a_manifest_of_docker_is_an_image_too(written: Layout, image: Image) -> None:
    document = {**json.loads(image.manifest), "mediaType": DOCKER_MANIFEST}
    assert written.image(add_document(written, document).digest).media_type == DOCKER_MANIFEST


def test_garbage_is_what_no_tag_reaches(written: Layout, image: Image, tmp_path: Path) -> None:
    other = small_image(tmp_path / "other", seed="b", size=5000)
    written.write_image(other)
    written.set_tags({"v1": None, "multi": add_index(written, (other, LINUX))})
    (written.path / ".aside-killed").write_bytes(b"x" * 100)
    assert written.garbage_collect() == 0  # all is young
    make_old(written)
    shared = {layer.descriptor.digest for layer in other.layers}
    size = sum(each.descriptor.size for each in image.layers if each.descriptor.digest not in shared)
    assert written.garbage_collect() == size + len(image.config) + len(image.manifest) + 100
    assert problems(written.image("multi", LINUX)) == ()
    assert not written.has_blob(image.digest)
    assert not (written.path / ".aside-killed").exists()
    assert written.garbage_collect() == 0


def test_what_a_writer_relies_on_is_not_collected_before_it_is_named(written: Layout, image: Image) -> None:
    written.set_tags({"v1": None})
    make_old(written)
    written.write_image(without_blobs(image))  # all blobs are there already
    assert written.garbage_collect() == 0
    written.set_tags({"v2": image.descriptor})
    assert problems(written.image("v2")) == ()


def test_an_index_of_which_one_platform_is_here_can_be_collected(written: Layout, image: Image) -> None:
    absent = replace(image, manifest=image.manifest + b" ")
    written.set_tags({"multi": add_index(written, (image, LINUX), (absent, ARM))})
    make_old(written)
    assert written.garbage_collect() == 0
    assert problems(written.image("multi", LINUX)) == ()
    with pytest.raises(InputError, match="lacks the blob"):
        written.image("multi", ARM)


def test_there_is_no_garbage_where_nothing_is(layout: Layout) -> None:
    assert layout.garbage_collect() == 0
    assert not layout.path.exists()
    assert layout.tags() == {}


def test_writers_at_once_lose_no_tag(layout: Layout, tmp_path: Path) -> None:
    images = [small_image(tmp_path / str(n), seed=str(n % 2)) for n in range(8)]
    failures: list[DbimageError] = []

    def write(position: int) -> None:
        try:
            layout.write_image(images[position])
            layout.set_tags({f"t{position}": images[position].descriptor})
            layout.garbage_collect()
        except DbimageError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(layout.tags()) == [f"t{n}" for n in range(8)]
    assert all(problems(layout.image(f"t{n}")) == () for n in range(8))


def test_a_writer_that_is_killed_leaves_the_tags(written: Layout, image: Image, tmp_path: Path) -> None:
    class Killed(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise KeyboardInterrupt

    other = small_image(tmp_path / "other", seed="b")
    broken = replace(other, layers=tuple(replace(layer, open=Killed) for layer in other.layers))
    with pytest.raises(KeyboardInterrupt):
        written.write_image(broken)
    assert set(written.tags()) == {"v1"}
    assert problems(written.image("v1")) == ()
    assert not list(written.path.glob(".aside-*"))


def test_the_tag_is_an_annotation(written: Layout, image: Image) -> None:
    (entry,) = json.loads((written.path / "index.json").read_bytes())["manifests"]
    assert entry["annotations"] == {REF_NAME: "v1"} == {"org.opencontainers.image.ref.name": "v1"}


@pytest.mark.peers
def test_skopeo_reads_it(written: Layout, image: Image) -> None:
    command = ["skopeo", "inspect", f"oci:{written.path}:v1"]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert seen["Digest"] == str(image.digest)
    assert seen["Layers"] == [str(layer.descriptor.digest) for layer in image.layers]
    assert seen["Labels"] == {"made-by": "a test"}


@pytest.mark.peers
def test_skopeo_copies_it_and_we_read_the_copy(written: Layout, image: Image, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    command = ["skopeo", "copy", "-q", f"oci:{written.path}:v1", f"oci:{target}:copied"]
    subprocess.run(command, check=True, capture_output=True)
    assert Layout(target).image("copied").digest == image.digest
    assert problems(Layout(target).image("copied")) == ()


@pytest.mark.peers
def test_umoci_unpacks_it(written: Layout, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    command = ["umoci", "unpack", "--rootless", "--image", f"{written.path}:v1", str(bundle)]
    subprocess.run(command, check=True, capture_output=True)
    found = [str(path.relative_to(bundle / "rootfs")) for path in (bundle / "rootfs").rglob("*")]
    assert sorted(found) == ["opt", "opt/a", "opt/a/0.bin", "opt/a/1.bin", "opt/a/2.bin"]
