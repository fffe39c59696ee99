"""What is left of a base's distributions under an environment that is laid over it."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, append
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.rootfs import image_of_layer
from mlflow_dbimage.oci.tar import file_entry, whiteouts
from mlflow_dbimage.whiteout_check import remains
from score_images import LINUX, layer_of, record

PREFIX = "opt/golden/env"
SITE = f"{PREFIX}/lib/python3.11/site-packages"


def wheel(name: str, version: str, *files: str) -> dict[str, bytes]:
    """The files of an installed wheel."""
    info = f"{name}-{version}.dist-info"
    listed = "".join(f"{file},sha256=x,1\n" for file in (*files, f"{info}/RECORD"))
    contents = {posixpath.normpath(f"{SITE}/{file}"): version.encode() for file in files}
    return {**contents, f"{SITE}/{info}/RECORD": listed.encode()}


def package(name: str, version: str, *files: str) -> dict[str, bytes]:
    """The files of an installed conda package."""
    meta = json.dumps({"name": name, "files": files}).encode()
    contents = {f"{PREFIX}/{file}": version.encode() for file in files}
    return {**contents, f"{PREFIX}/conda-meta/{name}-{version}-0.json": meta}


BASE = {
    **wheel("foo", "1.0", "foo/__init__.py", "foo/old.py"),
    **wheel("other", "3.0", "other.py", "../../../bin/other"),
    **package("libx", "1.1", "lib/libx.so", "share/x"),
    f"{SITE}/foo/__pycache__/__init__.cpython-311.pyc": b"x",
    f"{PREFIX}/conda-meta/nonsense-1-0.json": b"[" * 9999,
}
GONE = [f"{SITE}/foo/old.py", f"{SITE}/foo-1.0.dist-info", f"{SITE}/foo/__pycache__"]


def image(
    folder: Path, own: Mapping[str, bytes], hidden: Sequence[str], layout: str = "overlay"
) -> tuple[Image, BuildCache]:
    blobs = folder / "blobs"
    base = layer_of(blobs, *(file_entry(path, data, 0o644) for path, data in BASE.items()))
    layers: list[tuple[str, Layer]] = []
    if hidden:
        layers.append(("whiteouts", as_layer(write_layer(whiteouts(hidden, {}), blobs, Compression.GZIP))))
    layers.append(("environment", layer_of(blobs, *(file_entry(path, data, 0o644) for path, data in own.items()))))
    made = replace(
        record(base_layers=1),
        env_layout=layout,
        environment_prefix=f"/{PREFIX}",
        layers=tuple(
            LayerRecord(kind=kind, digest="", diff_id=str(layer.diff_id), size=0, contents=())
            for kind, layer in layers
        ),
    )
    lower = image_of_layer(base.descriptor, base.diff_id, lambda digest: (blobs / digest.hex).open("rb"), LINUX)
    additions = [Addition(layer=layer, created_by=kind) for kind, layer in layers]
    return append(lower, additions, RunConfig(labels=made.to_labels())), BuildCache(folder / "cache")


def found(
    folder: Path, own: Mapping[str, bytes], hidden: Sequence[str], layout: str = "overlay"
) -> tuple[str, ...]:

    made, cache = image(folder, own, hidden, layout)
    read = ImageRecord.from_labels(made.labels)
    assert read is not None
    return remains(made, read, cache)


CODE = f"{SITE}/foo/__pycache__/__init__.cpython-311.pyc"
NEW_FOO = wheel("foo", "2.0", "foo/__init__.py")


def test_what_went_is_hidden(tmp_path: Path):
    assert found(tmp_path, NEW_FOO, GONE) == ()


def test_whole_folders_may_be_hidden(tmp_path: Path):
    assert found(tmp_path, NEW_FOO, [f"{SITE}/foo", f"{SITE}/foo-1.0.dist-info"]) == ()


def test_without_whiteouts_two_versions_are_visible(tmp_path: Path):
    lines = found(tmp_path, NEW_FOO, [])
    assert f"`/{SITE}/foo-1.0.dist-info/RECORD` of the base is visible beside " in " ".join(lines)
    assert f"`/{CODE}` of the base is byte code" in " ".join(lines)


@pytest.mark.parametrize(
    ("forgotten", "line"),
    [
        (GONE[0], f"`/{SITE}/foo/old.py` is left of `foo-1.0`, which is no longer there"),
        (
            GONE[2],
            f"`/{CODE}` of the base is byte code of a source that was replaced",
        ),
    ],
)
def test_one_whiteout_that_is_missing(tmp_path: Path, forgotten: str, line: str):
    assert found(tmp_path, NEW_FOO, [path for path in GONE if path != forgotten]) == (line,)


def test_scripts_and_conda_packages_are_looked_at_too(tmp_path: Path):
    hidden = [f"{SITE}/other-3.0.dist-info", f"{SITE}/other.py", f"{PREFIX}/conda-meta/libx-1.1-0.json"]
    own = package("libx", "1.2", "lib/libx.so")
    assert found(tmp_path, own, hidden) == (
        f"`/{PREFIX}/bin/other` is left of `other-3.0`, which is no longer there",
        f"`/{PREFIX}/share/x` is left of `libx-1.1-0`, which is no longer there",
    )


def test_what_the_new_version_still_has_may_stay(tmp_path: Path):
    own = wheel("foo", "2.0", "foo/__init__.py", "foo/old.py")
    del own[f"{SITE}/foo/old.py"]
    assert found(tmp_path, own, GONE[1:]) == ()


def test_an_environment_of_its_own_hides_nothing(tmp_path: Path):
    assert found(tmp_path, NEW_FOO, [], layout="isolated") == ()


def test_the_base_is_read_once(tmp_path: Path):
    assert found(tmp_path, NEW_FOO, GONE) == ()
    made, cache = image(tmp_path, NEW_FOO, [f"{SITE}/foo", f"{SITE}/foo-1.0.dist-info"])
    (tmp_path / "blobs" / made.layers[0].descriptor.digest.hex).unlink()
    read = ImageRecord.from_labels(made.labels)
    assert read is not None
    assert remains(made, read, cache) == ()


def test_the_same_layers_are_looked_at_once(tmp_path: Path):
    lines = found(tmp_path, NEW_FOO, [])
    made, cache = image(tmp_path, NEW_FOO, [])
    for layer in made.layers:
        (tmp_path / "blobs" / layer.descriptor.digest.hex).unlink()
    read = ImageRecord.from_labels(made.labels)
    assert read is not None
    assert lines
    assert remains(made, read, cache) == lines
