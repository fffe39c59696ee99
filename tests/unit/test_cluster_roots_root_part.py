"""The part of layers that is kept tells the contract what the layers tell it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dcs_roots import RUNTIMES, Content, Program, satisfying, stacked, tar_layer
from mlflow_dbimage.cluster_roots import ClusterRoot, is_wanted, read_cluster_root
from mlflow_dbimage.cluster_roots.root_part import excerpt, is_listed, recorder
from mlflow_dbimage.oci import root_listing
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layer_members import visit
from mlflow_dbimage.oci.layer_part import LayerPart
from oci_samples import foreign_tar, plain_layer

SCORE = "/opt/dbimage/bin/score"
#: What a layer of ours may have, and other things that decide nothing.
ABOVE: dict[str, Content] = {
    "opt/dbimage/bin/score": Program(b"#!/bin/sh\n"),
    "opt/dbimage/env/bin/python": "python3.11",
    "opt/dbimage/env/bin/python3.11": Program(b"\x7fELF"),
    "opt/dbimage/env/lib/python3.11/os.py": b"",
    "opt/dbimage/model/MLmodel": b"x",
    "usr/share/doc/x/copyright": b"",
    "databricks/python3/lib/python3.11/site-packages/dbimage_launcher-1.dist-info/METADATA": b"",
}


def part_of(layer: Layer) -> LayerPart:
    noted = recorder()
    visit(layer, noted)
    return LayerPart.from_dict(noted.part().to_dict())


def roots(image: Image) -> Sequence[ClusterRoot]:
    """What is read of all of an image, and of its parts."""
    whole = root_listing.read_listing(image, is_wanted)
    parts = root_listing.stacked(part_of(layer) for layer in image.layers)
    asked = (SCORE, "/opt/dbimage/env/bin/python")
    return [read_cluster_root(each, image.environment, asked) for each in (whole, parts)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_parts_of_an_image_say_what_all_of_it_says(runtime: str) -> None:
    image = stacked(satisfying(runtime).image(), tar_layer(ABOVE))
    whole, part = roots(image)
    assert part == whole
    assert len(part.executables) == 2


@pytest.mark.parametrize(
    "hidden",
    [
        ("etc/.wh.shadow", b""),
        (".wh.databricks", b""),
        ("usr/local/bin/.wh.virtualenv", b""),
        ("usr/bin/sudo", b"no program"),
        ("opt/dbimage/.wh.bin", b""),
    ],
)
def test_what_a_layer_hides_is_gone(hidden: tuple[str, bytes]) -> None:
    base = stacked(satisfying("15.4-lts").image(), tar_layer(ABOVE))
    whole, part = roots(stacked(base, plain_layer(foreign_tar([hidden]))))
    assert part == whole
    assert part != roots(base)[1]


def test_layers_of_a_model_have_no_part() -> None:
    layer = tar_layer({"opt/dbimage/model/MLmodel": b"x", "opt/dbimage/model/bin/java": Program(b"")})
    assert part_of(layer).entries == ()


def test_of_passwords_is_kept_whether_there_is_one() -> None:
    text = b"root:$6$salt$hash:1::::::\nlibraries:!:1::::::\ndaemon:*:1::::::\nother:!$6$x$y:1\nbroken\n"
    assert excerpt("etc/shadow", text) == b"root:x:\nlibraries:!:\ndaemon:!:\nother:!:"
    assert excerpt("etc/passwd", b"root:x:0:0:Ada Lovelace,Room 1:/root:/bin/sh\n") == b"root:x:"


def test_of_dpkg_only_packages_that_clusters_need_are_kept() -> None:
    status = b"Package: sudo\nStatus: install ok installed\nVersion: 1\n\nPackage: sudoku\nVersion: 1\n"
    assert b"sudoku" not in excerpt("var/lib/dpkg/status", status)
    assert b"Package: sudo\n" in excerpt("var/lib/dpkg/status", status)


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        ("usr/lib/x86_64-linux-gnu/libc.so.6", True),
        ("usr/lib/x86_64-linux-gnu/libm.so.6", False),
        ("usr/lib/jvm/zulu17/bin/java", True),
        ("usr/lib/python3/dist-packages/six-1.16.0.egg-info", True),
        ("databricks/python3/lib/python3.11/site-packages/pyspark/__init__.py", True),
        ("databricks/python3/lib/python3.11/site-packages/pyspark/sql/__init__.py", False),
        ("databricks/python3/lib/python3.11/os.py", False),
        ("databricks/conda/envs/ml/bin/python", True),
        ("databricks/conda/pkgs/x/bin/python", False),
        ("opt/dbimage/lock/pylock.toml", False),
    ],
)
def test_what_decides_something_is_listed(path: str, listed: bool) -> None:
    assert is_listed(path, False) is listed
