"""Which bases an image's layers can lie on, by where its environment is and what it takes from the base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster_roots import Root, cluster_root, distribution
from mlflow_dbimage.base_environment import BaseEnvironment
from mlflow_dbimage.base_fit import misfits
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.cluster_python import ClusterPython, read
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.oci.image import Image, RunConfig, append
from mlflow_dbimage.oci.root_listing import read_listing
from oci_samples import LINUX, foreign_tar, image_of, plain_layer, small_image
from unit import test_base_environment as golden
from unit.test_build_receipt import RECORD as ISOLATED

OVERLAY = replace(ISOLATED, env_layout="overlay")
CLUSTER = replace(ISOLATED, env_layout="cluster", environment_prefix="/databricks/python3")


def package(name: str, version: str) -> CondaPackage:
    file_name = f"{name}-{version}-py_0.conda"
    return CondaPackage(
        name=name,
        version=version,
        build="py_0",
        build_number=0,
        subdir="noarch",
        file_name=file_name,
        sha256="0" * 64,
        size=1,
        channel="c",
        canonical_url=f"https://c.example/noarch/{file_name}",
        url=f"https://c.example/noarch/{file_name}",
    )


def holding(count: int = 1, **versions: str) -> BaseEnvironment:
    """An environment of such packages, with a file of each."""
    packages = {**{f"p{number}": "1" for number in range(count)}, **versions}
    conda = tuple(package(name, version) for name, version in packages.items())
    files = {f"opt/dbimage/env/{name}": ("link", 0o777, version) for name, version in packages.items()}
    return replace(golden.BASE, locked=LockedEnv(platform=LINUX, python="3.11.7", conda=conda), files=files)


def on(image: Image, glibc: str = "2.36", **parents: tuple[int, int, int]) -> BaseImage:
    return BaseImage(reference="the-base", image=image, glibc=glibc, parents=parents, system="")


def read_python(image: Image) -> ClusterPython:
    return read(read_listing(image, lambda path: True), "the-base")


def found(record: ImageRecord, image: Image, base: BaseImage) -> str:
    return "; ".join(misfits(record, image, base, read_python))


def with_python(*parts: Root) -> Image:
    return image_of(plain_layer(foreign_tar(cluster_root(*parts).items())))


@pytest.fixture
def plain(tmp_path: Path) -> Image:
    return small_image(tmp_path / "plain")


def test_an_isolated_image_lies_on_any_base(plain: Image, tmp_path: Path) -> None:
    assert misfits(ISOLATED, plain, on(plain), read_python) == ()
    base = golden.base_image(tmp_path / "golden", golden.BASE.to_entry())
    assert misfits(ISOLATED, plain, on(base), read_python) == ()


def test_directories_above_the_environment_count(plain: Image) -> None:
    record = replace(
        ISOLATED, environment_prefix="/databricks/conda/envs/m", parents={"databricks/conda": (0o755, 0, 0)}
    )
    said = found(record, plain, on(plain, **{"databricks/conda": (0o775, 0, 100)}))
    assert said == "its `/databricks/conda` is 775 of 0:100, and the layers would make it 755 of 0:0"


def test_an_overlay_moves_between_equal_environments(tmp_path: Path) -> None:
    old = golden.base_image(tmp_path / "old", holding(numpy="1.26.4").to_entry())
    new = append(golden.base_image(tmp_path / "new", holding(numpy="1.26.4").to_entry()), [], RunConfig(user="x"))
    assert old.digest != new.digest
    assert misfits(OVERLAY, old, on(new), read_python) == ()


def test_what_differs_is_listed(tmp_path: Path) -> None:
    old = golden.base_image(tmp_path / "old", holding(numpy="1.26.4", six="1.16").to_entry())
    new = golden.base_image(tmp_path / "new", holding(numpy="2.0", attrs="23.1").to_entry())
    assert found(OVERLAY, old, on(new)) == (
        "its environment differs in 3 files from the one that the image was made for:"
        " attrs not there -> 23.1 py_0, numpy 1.26.4 py_0 -> 2.0 py_0, six 1.16 py_0 -> not there"
    )
    many = golden.base_image(tmp_path / "many", holding(30).to_entry())
    assert found(OVERLAY, many, on(old)).endswith(" and 21 more")


def test_another_place_is_told(tmp_path: Path) -> None:
    old = golden.base_image(tmp_path / "old", golden.BASE.to_entry())
    moved = replace(golden.BASE, prefix="/databricks/conda/envs/databricks-ml", files={})
    new = golden.base_image(tmp_path / "new", moved.to_entry())
    assert "its environment is at `/databricks/conda/envs/databricks-ml`" in found(OVERLAY, old, on(new))


def test_an_overlay_needs_a_golden_base(plain: Image, tmp_path: Path) -> None:
    old = golden.base_image(tmp_path / "old", golden.BASE.to_entry())
    assert "this is no golden base" in found(OVERLAY, old, on(plain))


def test_what_lies_in_the_clusters_python_moves_to_its_equal(tmp_path: Path) -> None:
    numpy = distribution("numpy", "1.23.5")
    record = replace(CLUSTER, base_layers=1)
    old = append(with_python(numpy), [], RunConfig(labels=record.to_labels()))
    same = append(with_python(numpy), [], RunConfig(user="x"))
    assert misfits(record, old, on(same), read_python) == ()
    assert found(record, old, on(with_python(distribution("numpy", "1.26.4")))) == (
        "its own Python differs in 4 paths from the one that the image was made for: numpy 1.23.5 -> 1.26.4"
    )


def test_a_base_without_a_clusters_python_is_none_for_it(plain: Image) -> None:
    assert "it has no `/databricks/python3`" in found(CLUSTER, plain, on(plain))


def test_all_reasons_are_told(plain: Image) -> None:
    taken = append(plain, [], RunConfig(labels=ISOLATED.to_labels()))
    reasons = misfits(CLUSTER, plain, on(taken, glibc="2.9", opt=(0o700, 0, 0)), read_python)
    assert [reason.split(",")[0].split(" is ")[0] for reason in reasons] == [
        "it",
        "its glibc",
        "its `/opt`",
        "no packages can be laid into the cluster's Python of the base `the-base`: it has no"
        " `/databricks/python3`",
    ]
