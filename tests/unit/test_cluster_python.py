"""What is read of a cluster's own Python, from the layers of a base."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_roots import SETTINGS, SITE, SYSTEM, Root, cluster_of, cluster_root, distribution, listing_of
from mlflow_dbimage import cluster_python
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.cluster_python import ClusterPython, packages_place, read
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.progress import SilentProgress
from oci_samples import foreign_tar, image_of, plain_layer, without_blobs


def test_distributions_of_the_environment_come_before_those_of_the_system():
    found = cluster_of(
        distribution("numpy", "1.23.5"),
        distribution("six", "1.16.0", folder=SYSTEM),
        distribution("numpy", "1.21.0", folder=SYSTEM),
        distribution("six", "1.17.0", folder="usr/local/lib/python3.11/dist-packages"),
    )
    assert found.python == "3.11.11"
    shown = {each.name: (each.version, each.own) for each in found.distributions.values()}
    assert shown == {"numpy": ("1.23.5", True), "six": ("1.17.0", False)}


def test_the_systems_are_left_out_where_the_environment_does_not_mix_them_in():
    settings = SETTINGS.replace(b"true", b"false")
    root = cluster_root(distribution("six", folder=SYSTEM), settings=settings)
    assert read(listing_of(root), "base").distributions == {}


def test_files_of_a_distribution_are_what_is_there_of_what_it_recorded_and_its_byte_code():
    root = cluster_root(
        distribution("Click.plugin", "1.0", files={"click_plugin/__init__.py": b""}, scripts=("plug",))
    )
    del root[f"{SITE}/click_plugin/__init__.py"]
    (found,) = read(listing_of(root), "base").distributions.values()
    assert found.name == "click-plugin"
    assert set(found.files) == {
        "databricks/python3/bin/plug",
        f"{SITE}/click_plugin/__pycache__/__init__.cpython-311.pyc",
        f"{SITE}/Click.plugin-1.0.dist-info/METADATA",
        f"{SITE}/Click.plugin-1.0.dist-info/RECORD",
    }
    assert len(found.files["databricks/python3/bin/plug"]) == 64


def test_what_is_recorded_outside_the_environment_is_not_its_own():
    part = distribution("escape")
    part[f"{SITE}/escape-1.0.dist-info/RECORD"] = b"../../../../../usr/bin/python3.11,,\n/usr/bin/python3.11,,\n"
    (found,) = cluster_of(part).distributions.values()
    assert all(path.startswith(SITE) for path in found.files)


def test_what_no_distribution_would_have_is_no_obstacle():
    part = distribution("odd")
    part[f"{SITE}/odd-1.0.dist-info/RECORD"] = b"x" * 200_000
    part[f"{SITE}/odd-1.0.dist-info/" + "d/" * 2000 + "file"] = b""
    (found,) = cluster_of(part).distributions.values()
    assert f"{SITE}/odd-1.0.dist-info/RECORD" in found.files


def test_metadata_that_another_version_left_behind_goes_too():
    (found,) = cluster_of(distribution("numpy", "1.0"), distribution("numpy", "2.0")).distributions.values()
    assert {f"{SITE}/numpy-{version}.dist-info/METADATA" for version in ("1.0", "2.0")} <= set(found.files)


def test_eggs_of_the_system_are_distributions():
    part: Root = {
        f"{SYSTEM}/old-2.egg-info": b"Metadata-Version: 1.1\nName: old\nVersion: 2\n",
        f"{SYSTEM}/older-3.egg-info/PKG-INFO": b"Metadata-Version: 1.1\nName: older\nVersion: 3\n",
        f"{SYSTEM}/older-3.egg-info/requires.txt": b"old>=1\n\n[extra]\nnumpy\n",
    }
    found = cluster_of(part).distributions
    assert {name: (each.version, each.requires) for name, each in found.items()} == {
        "old": ("2", ()),
        "older": ("3", ("old>=1",)),
    }


def test_packages_with_extension_modules_are_known():
    found = cluster_of(distribution("fast", files={"fast/core.cpython-311.so": b"\x7fELF"}), distribution("slow"))
    assert {name: each.compiled for name, each in found.distributions.items()} == {"fast": True, "slow": False}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"databricks": b""}, "it has no `/databricks/python3`"),
        ({"databricks": None, "databricks/conda/bin/conda": b""}, "it has conda, as runtimes before 9 have"),
        ({"databricks/python3": "/opt/python"}, "is no directory"),
        ({"databricks/python3/conda-meta/history": b""}, "is an environment of conda"),
        ({"databricks/python3/lib/python3.12/os.py": b""}, "and has python3.11, python3.12"),
        ({"usr/bin": None}, "leads to no program"),
    ],
)
def test_what_packages_cannot_be_laid_into_is_refused(change: Root, why: str):
    path = next(iter(change))
    root = cluster_root()
    if change[path] is None or not path.startswith("databricks/python3/"):
        root = {each: content for each, content in root.items() if not f"{each}/".startswith(f"{path}/")}
    with pytest.raises(MatchError, match=why) as caught:
        read(listing_of({**root, **change}), "a/base:1")
    assert caught.value.code == "layout-impossible"
    assert "a/base:1" in caught.value.message


@pytest.mark.parametrize(
    ("settings", "python"),
    [(b"version = 3.11.4\n", "3.11.4"), (b"version_info = 3.10.1.final.0\n", "3.11"), (b"", "3.11")],
)
def test_the_patch_is_told_where_the_environment_tells_it(settings: bytes, python: str):
    assert read(listing_of(cluster_root(settings=settings)), "base").python == python


def test_it_comes_back_from_its_json():
    found = cluster_of(distribution("six"), distribution("numpy", folder=SYSTEM, requires=("six",)))
    again = ClusterPython.from_dict(found.to_dict())
    assert again == found
    assert list(again.distributions) == list(found.distributions) == ["numpy", "six"]
    assert again.digest == found.digest


def test_a_base_is_read_once(tmp_path: Path):
    image = image_of(plain_layer(foreign_tar(cluster_root(distribution("numpy")).items())))
    cache = BuildCache(tmp_path)
    found = cluster_python.fetch(image, "base", cache, SilentProgress())
    assert cluster_python.fetch(without_blobs(image), "base", cache, SilentProgress()) == found


@pytest.mark.parametrize(
    ("names", "place"), [(("python3.11",), SITE), ((), None), (("python3.11", "python3.9"), None), (("x",), None)]
)
def test_the_place_of_packages_is_told_by_directories(names: tuple[str, ...], place: str | None):
    directories = ["databricks/python3/lib", *(f"databricks/python3/lib/{name}" for name in names)]
    assert packages_place(directories) == place
