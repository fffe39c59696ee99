"""Roots are kept, and kept right."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from mlflow_dbimage.backends import kept_roots
from mlflow_dbimage.backends.kept_roots import KeptRoots, Root
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import LayerRecord
from mlflow_dbimage.cache_parts import measure, prune
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, append
from mlflow_dbimage.oci.rootfs import image_of_layer
from mlflow_dbimage.oci.tar import file_entry, symlink_entry
from other_users import FIRST, SECOND, as_user, folder_of_group
from score_images import LINUX, layer_of, record


def _image(folder: Path, *models: bytes | Layer) -> Image:
    """An image of a base, an environment, and the layers of a model."""
    blobs = folder / "blobs"
    base, environment = (
        layer_of(blobs, file_entry(path, b"shared", 0o644)) for path in ("etc/release", "opt/dbimage/env/package")
    )
    own = [
        each if isinstance(each, Layer) else layer_of(blobs, file_entry("opt/dbimage/model/MLmodel", each, 0o644))
        for each in models
    ]
    layers = [("environment", environment), *(("model", layer) for layer in own)]
    records = tuple(_recorded(kind, layer) for kind, layer in layers)
    labels = replace(record(base_layers=1), layers=records).to_labels()
    image = image_of_layer(base.descriptor, base.diff_id, lambda digest: (blobs / digest.hex).open("rb"), LINUX)
    additions = [Addition(layer=layer, created_by="a test") for _, layer in layers]
    return append(image, additions, RunConfig(labels=labels))


def _recorded(kind: str, layer: Layer) -> LayerRecord:
    blob = layer.descriptor
    return LayerRecord(kind=kind, digest=str(blob.digest), diff_id=str(layer.diff_id), size=blob.size, contents=())


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    return BuildCache(tmp_path / "cache")


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The diff IDs of what is unpacked."""
    seen: list[str] = []
    real = kept_roots.unpack_layer

    def noting(layer: Layer, root: Path, **options: bool) -> None:
        seen.append(str(layer.diff_id))
        real(layer, root, **options)

    monkeypatch.setattr(kept_roots, "unpack_layer", noting)
    return seen


def _model(root: Root) -> bytes:
    assert root.model is not None
    return (root.model / "MLmodel").read_bytes()


def test_a_second_version_unpacks_its_own_layers_alone(tmp_path: Path, cache: BuildCache, unpacked: list[str]):
    first, second = _image(tmp_path, b"1"), _image(tmp_path, b"2")
    with KeptRoots(cache).opened(first) as root:
        assert _model(root) == b"1"
        assert (root.path / "opt/dbimage/env/package").read_bytes() == b"shared"
        assert not os.listdir(root.path / "opt/dbimage/model")
    assert set(unpacked) == {str(layer.diff_id) for layer in first.layers}
    unpacked.clear()
    with KeptRoots(cache).opened(second) as again:
        assert (_model(again), again.path) == (b"2", root.path)
    assert unpacked == [str(second.layers[-1].diff_id)]
    assert not os.listdir(cache.directory("work"))


@pytest.mark.parametrize("change", ["content", "new", "gone", "mode"])
def test_a_root_that_somebody_changed_is_made_anew(
    change: str, tmp_path: Path, cache: BuildCache, unpacked: list[str]
):
    image = _image(tmp_path, b"1")
    with KeptRoots(cache).opened(image) as root:
        file = root.path / "opt/dbimage/env/package"
    before = file.stat()
    if change == "content":
        file.write_bytes(b"SHARED")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "new":
        (file.parent / "sitecustomize.py").write_bytes(b"")
    elif change == "gone":
        file.unlink()
    else:
        file.chmod(0o777)
    unpacked.clear()
    with KeptRoots(cache).opened(image) as root:
        assert [path.read_bytes() for path in (root.path / "opt/dbimage/env").iterdir()] == [b"shared"]
    assert len(unpacked) == len(image.layers)


def test_few_are_kept_and_none_goes_while_it_is_held(
    tmp_path: Path, cache: BuildCache, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kept_roots, "_MOST_KEPT", 1)
    image = _image(tmp_path, b"1")
    blobs = tmp_path / "blobs"
    other_base = layer_of(blobs, file_entry("etc/release", b"another", 0o644))
    other = replace(image, layers=(other_base, *image.layers[1:]))
    with KeptRoots(cache).opened(image) as held:
        with KeptRoots(cache).opened(other) as beside:
            assert held.path.is_dir()
            assert beside.path.is_dir()
    with KeptRoots(cache).opened(_image(tmp_path / "more", b"1")):
        pass
    third = replace(image, layers=(layer_of(blobs, file_entry("etc/x", b"", 0o644)), *image.layers[1:]))
    with KeptRoots(cache).opened(third) as last:
        assert list(cache.directory("roots").iterdir()) == [last.path.parent]


def test_builds_of_different_environments_do_not_wait_for_each_other(tmp_path: Path, cache: BuildCache):
    slow, other = _image(tmp_path, b"1"), _image(tmp_path, b"2")
    other = replace(other, layers=(layer_of(tmp_path / "blobs", file_entry("x", b"", 0o644)), *other.layers[1:]))
    begun, go_on = threading.Event(), threading.Event()

    def opened_slowly() -> BinaryIO:
        begun.set()
        assert go_on.wait(60)
        return slow.layers[0].open()

    waiting = replace(slow, layers=(replace(slow.layers[0], open=opened_slowly), *slow.layers[1:]))

    def check(image: Image) -> bytes:
        with KeptRoots(cache).opened(image) as root:
            return _model(root)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(check, waiting)
        assert begun.wait(60)
        try:
            assert threads.submit(check, other).result(30) == b"2"
        finally:
            go_on.set()
        assert first.result() == b"1"


def test_a_changed_root_that_a_check_uses_is_left_to_it(tmp_path: Path, cache: BuildCache):
    image = _image(tmp_path, b"1")
    with KeptRoots(cache).opened(image) as used:
        (used.path / "etc/release").write_bytes(b"changed")
        with KeptRoots(cache).opened(image) as root:
            assert (root.path / "etc/release").read_bytes() == b"shared"
        assert (used.path / "etc/release").read_bytes() == b"changed"
    with KeptRoots(cache).opened(image) as root:
        assert (root.path, (root.path / "etc/release").read_bytes()) == (used.path, b"shared")


@pytest.mark.root
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_users_who_share_a_cache_have_roots_of_their_own():
    with folder_of_group() as shared:
        image = _image(shared, b"1")

        def check() -> None:
            for _ in range(2):
                with KeptRoots(BuildCache.open(shared / "cache")).opened(image) as root:
                    assert (root.path / "etc/release").read_bytes() == b"shared"
                    assert root.path.stat().st_uid == os.getuid()

        for user in (FIRST, SECOND, FIRST):
            as_user(user, 0o002, check)
        assert len(list((shared / "cache/roots").iterdir())) == 2


def test_a_full_disk_keeps_none(tmp_path: Path, cache: BuildCache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kept_roots, "_LEAST_FREE", shutil.disk_usage(tmp_path).total)
    with KeptRoots(cache).opened(_image(tmp_path, b"1")) as root:
        assert _model(root) == b"1"
        assert (root.path / "opt/dbimage/env/package").is_file()
    assert not root.path.exists()
    assert not os.listdir(cache.directory("roots"))


@pytest.mark.parametrize(
    ("path", "strange"), [("usr/bin/ls", "usr"), ("opt/dbimage/env/package", "env"), ("opt/dbimage/x", "x")]
)
def test_a_model_layer_with_something_else_is_refused(path: str, strange: str, tmp_path: Path, cache: BuildCache):
    image = _image(tmp_path, layer_of(tmp_path / "blobs", file_entry(path, b"x", 0o644)))
    with pytest.raises(VerificationError, match=f"`{strange}` outside") as caught:
        with KeptRoots(cache).opened(image):
            pass
    assert caught.value.code == "image-invalid"


def test_an_image_without_a_record_is_unpacked_whole_and_not_kept(tmp_path: Path, cache: BuildCache):
    image = _image(tmp_path, b"1")
    stranger = append(image, [], RunConfig(labels={"dev.dbimage.record": "{}"}))
    with KeptRoots(cache).opened(stranger) as root:
        assert root.model is None
        assert (root.path / "opt/dbimage/model/MLmodel").read_bytes() == b"1"
    elsewhere = layer_of(tmp_path / "blobs", symlink_entry("opt", "usr/opt"))
    with KeptRoots(cache).opened(replace(stranger, layers=(elsewhere,))) as root:
        assert os.readlink(root.path / "opt") == "usr/opt"
    assert not (cache.root / "roots").exists()


def test_pruning_leaves_what_is_held(tmp_path: Path, cache: BuildCache):
    with KeptRoots(cache).opened(_image(tmp_path, b"1")) as root:
        prune(cache.root, keep_days=0)
        assert root.path.is_dir()
    assert {use.part: use.files for use in measure(cache.root)}["roots"] == 3
    prune(cache.root, keep_days=0)
    assert not os.listdir(cache.directory("roots"))
