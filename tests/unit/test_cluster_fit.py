"""What may change in a cluster's own Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_roots import SITE, cluster_of, distribution
from mlflow_dbimage.cluster_fit import (
    KERNEL,
    broken_by,
    compiled_for_another_numpy,
    refuse_misfits,
    settle_with_base,
)
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.locking.package_owners import PlacedFile, WheelContents
from mlflow_dbimage.oci.descriptor import Platform
from solving import AMD64, ARM64, make_spec

CLONE = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("requirement", "platform", "broken"),
    [
        ("numpy<2", AMD64, True),
        ("numpy>=1", AMD64, False),
        ("numpy<1", AMD64, False),  # so it was before
        ("numpy<2; python_version < '3.11'", AMD64, False),
        ("numpy<2; platform_machine == 'aarch64'", AMD64, False),
        ("numpy<2; platform_machine == 'aarch64'", ARM64, True),
        ("numpy<2; extra == 'fast'", AMD64, False),
        ("pyspark<1", AMD64, False),
        ("no requirement <", AMD64, False),
    ],
)
def test_a_requirement_that_held_and_holds_no_more_is_broken(
    requirement: str, platform: Platform, broken: bool
) -> None:
    cluster = cluster_of(distribution("numpy", "1.23.5"), distribution("user", requires=(requirement,)))
    found = broken_by({"numpy": "2.0", "pyspark": "3.5"}, cluster, platform)
    assert set(found) == ({"user"} if broken else set())
    assert all(each.endswith(", not 2.0") for lost in found.values() for each in lost)


def test_what_a_notebooks_kernel_needs_is_documented() -> None:
    text = " ".join((CLONE / "docs" / "layouts.md").read_text().split())
    assert f"own versions: {', '.join(sorted(KERNEL))};" in text


def test_what_is_resolved_itself_is_right_among_its_own() -> None:
    cluster = cluster_of(distribution("numpy", "1.23.5"), distribution("user", requires=("numpy<2",)))
    assert broken_by({"numpy": "2.0", "user": "2.0"}, cluster, AMD64) == {}


@pytest.mark.parametrize(("numpy", "stale"), [("2.0", {"fast"}), ("1.26", set()), ("1.23.5", set())])
def test_extension_modules_depend_on_numpys_major_version(numpy: str, stale: set[str]) -> None:
    fast = distribution("fast", requires=("numpy",), files={"fast/core.so": b""})
    cluster = cluster_of(distribution("numpy", "1.23.5"), fast, distribution("pure", requires=("numpy",)))
    assert compiled_for_another_numpy({"numpy": numpy}, cluster, AMD64) == stale
    assert compiled_for_another_numpy({"numpy": numpy, "fast": "3.0"}, cluster, AMD64) == set()


def test_a_model_fits_the_clusters_python_or_is_refused_for_each_reason(tmp_path: Path) -> None:
    cluster = cluster_of(distribution("numpy", "1.23.5"))
    refuse_misfits(make_spec(tmp_path / "fits", "3.11.2", conda=("pip<=26.3", "numpy>=1.20")), cluster)
    with pytest.raises(MatchError) as caught:
        refuse_misfits(
            make_spec(tmp_path / "not", "3.12.1", conda=("pip<=26.3", "numpy>=1.26", "r-base")), cluster
        )
    assert caught.value.code == "layout-impossible"
    for reason in ("it needs Python 3.12", "`numpy>=1.26`", "`r-base`"):
        assert reason in caught.value.message
    assert "pip<=26.3" not in caught.value.message


@pytest.mark.parametrize(("name", "superseded"), [("part", True), ("rest", False)])
def test_a_distribution_goes_where_all_its_packages_are_brought(name: str, superseded: bool) -> None:
    files = {"part/__init__.py": b"mine", f"{name}/__init__.py": b"mine"}
    wheel = LockedWheel(name="whole", version="1", file_name="whole-1-py3-none-any.whl", sha256="0" * 64, size=1)
    placed = PlacedFile(
        scheme="purelib", path=f"{SITE.partition('/python3/')[2]}/part/__init__.py", sha256="1" * 64
    )
    cluster = cluster_of(distribution("slim", files=files))
    if superseded:
        assert settle_with_base([(wheel, WheelContents(files=(placed,)))], cluster)[0] == ("slim",)
        return
    with pytest.raises(MatchError, match="of whole 1 and of the base's slim"):
        settle_with_base([(wheel, WheelContents(files=(placed,)))], cluster)
