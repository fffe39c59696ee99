"""Locks for the cluster's own Python, by the real resolver on a small index, beside synthetic bases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster_roots import SITE, SYSTEM, Root, cluster_of, distribution
from fakes.package_index import PackageIndex, serve
from mlflow_dbimage import cluster_lock
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.cluster_lock import ClusterLock
from mlflow_dbimage.cluster_python import ClusterPython
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.environment_solver import Solver
from mlflow_dbimage.progress import SilentProgress
from solving import make_options, make_solver, make_spec
from toy_channel import make_toy_channel, toy_python
from toy_wheels import make_sdist, make_wheel


@dataclass(kw_only=True)
class Site:
    """An index and a channel, and what is solved with them."""

    index: PackageIndex
    channel: str
    folder: Path
    solver: Solver

    def lock(
        self,
        cluster: ClusterPython,
        *pip: str,
        conda: tuple[str, ...] = ("pip",),
        python: str = "3.11.7",
        **options: Any,
    ) -> ClusterLock:
        spec = make_spec(self.folder, python, conda=conda, pip=pip)
        wanted = make_options(self.channel, **{"index_url": self.index.url, **options})
        cache = BuildCache(self.folder / "cache")
        return cluster_lock.lock_once(spec, wanted, cluster, self.solver, cache=cache, progress=SilentProgress())

    def refused(self, cluster: ClusterPython, *pip: str, **changes: Any) -> DbimageError:
        with pytest.raises(DbimageError) as caught:
            self.lock(cluster, *pip, **changes)
        return caught.value


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    wheels = tmp_path / "index"
    for name, version, requires in (
        ("alpha", "1.0", ["beta"]),
        ("alpha", "2.0", ["beta"]),
        ("beta", "1.0", []),
        ("beta", "2.0", []),
        ("delta", "1.0", ["pyspark>=3", "alpha"]),
        ("fast", "2.0", ["numpy>=1"]),
        ("gamma", "2.0", ["alpha>=2"]),
        ("ipykernel", "7.0", []),
        ("numpy", "2.0", []),
    ):
        make_wheel(wheels, name, version, requires=requires)
    make_sdist(tmp_path, "source")
    channel = make_toy_channel(tmp_path / "channel", [toy_python("3.11.7")])
    with serve(PackageIndex(wheels)) as index:
        yield Site(index=index, channel=channel, folder=tmp_path, solver=make_solver(tmp_path / "solver"))


ALPHA_AND_BETA = distribution("alpha", requires=("beta",)) | distribution("beta")


def laid(made: ClusterLock) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in made.locked.wheels}


def kept(made: ClusterLock) -> Mapping[str, str]:
    assert made.locked.cluster is not None
    return made.locked.cluster.kept


def test_what_satisfies_stays(site: Site) -> None:
    made = site.lock(cluster_of(ALPHA_AND_BETA), "alpha")
    assert (laid(made), kept(made), made.hidden) == ({}, {"alpha": "1.0", "beta": "1.0"}, ())


def test_only_what_differs_is_laid_and_what_it_replaces_is_hidden(site: Site) -> None:
    made = site.lock(cluster_of(ALPHA_AND_BETA | distribution("other")), "alpha>=2")
    assert (laid(made), kept(made)) == ({"alpha": "2.0"}, {"beta": "1.0"})
    assert made.hidden == (f"{SITE}/alpha", f"{SITE}/alpha-1.0.dist-info")
    assert made.changes.to_dict() | {"size": 0, "changed": []} == {
        "kept": 2,
        "changed": [],
        "added": [],
        "gone": [],
        "size": 0,
    }
    assert [(each.name, each.before, each.after) for each in made.changes.changed] == [("alpha", "1.0", "2.0")]


def test_what_no_index_has_stays_too_whenever_it_was_published(site: Site) -> None:
    part = distribution("private", "0.2.5+db1", requires=("beta", "no requirement <")) | distribution("beta")
    made = site.lock(cluster_of(part), "private==0.2.5+db1")
    assert (laid(made), kept(made)) == ({}, {"beta": "1.0", "private": "0.2.5+db1"})


def test_a_distribution_of_the_system_is_shadowed_and_stays(site: Site) -> None:
    part = distribution("alpha", folder=SYSTEM, requires=("beta",)) | distribution("beta")
    made = site.lock(cluster_of(part), "alpha>=2")
    assert (laid(made), made.hidden) == ({"alpha": "2.0"}, ())


def test_what_would_break_in_the_base_is_changed_with_it(site: Site) -> None:
    part = ALPHA_AND_BETA | distribution("gamma", requires=("alpha<2",))
    assert laid(site.lock(cluster_of(part), "alpha>=2")) == {"alpha": "2.0", "gamma": "2.0"}


def test_what_the_base_has_broken_already_stays_so(site: Site) -> None:
    part = ALPHA_AND_BETA | distribution("gamma", requires=("alpha<1", "nothing"))
    assert laid(site.lock(cluster_of(part), "alpha>=2")) == {"alpha": "2.0"}


def test_what_would_break_for_good_is_named(site: Site) -> None:
    part = ALPHA_AND_BETA | distribution("orphan", requires=("alpha<2",))
    error = site.refused(cluster_of(part), "alpha>=2")
    assert error.code == "layout-impossible"
    assert "orphan 1.0 needs alpha<2, not 2.0" in error.message


def test_extension_modules_for_numpy_1_are_replaced_with_it(site: Site) -> None:
    numpy = distribution("numpy", "1.23.5")
    fast = distribution("fast", requires=("numpy>=1",), files={"fast/core.so": b"\x7fELF"})
    made = site.lock(cluster_of(numpy | fast | distribution("pure", requires=("numpy>=1",))), "numpy>=2")
    assert laid(made) == {"fast": "2.0", "numpy": "2.0"}
    assert [note.partition(":")[0] for note in made.locked.notes[-1:]] == ["numpy 2.0"]


@pytest.mark.parametrize("model", [(), ("fast",)])
def test_extension_modules_for_numpy_1_that_have_no_other_version_are_named(
    site: Site, model: tuple[str, ...]
) -> None:
    fast = distribution("fast", "2.0", requires=("numpy>=1",), files={"fast/core.so": b"\x7fELF"})
    error = site.refused(cluster_of(distribution("numpy", "1.23.5") | fast), "numpy>=2", *model)
    assert error.code == "layout-impossible"
    assert "fast 2.0 is compiled for NumPy 1.23.5, and does not load with 2.0" in error.message


@pytest.mark.parametrize("line", ["ipykernel>=7", "needs-new-kernel"])
def test_what_a_notebooks_kernel_needs_does_not_change(site: Site, line: str) -> None:
    make_wheel(site.index.directory, "needs-new-kernel", requires=["ipykernel>=7"])
    error = site.refused(cluster_of(distribution("ipykernel", "6.25.1")), line)
    assert error.code == "layout-impossible"
    assert "ipykernel would change from 6.25.1 to 7.0" in error.message


@pytest.mark.parametrize("lines", [("pyspark==3.5.0", "delta"), ("delta",)])
def test_what_databricks_injects_is_left_out(site: Site, lines: tuple[str, ...]) -> None:
    made = site.lock(cluster_of(ALPHA_AND_BETA), *lines)
    assert laid(made) == {"delta": "1.0"}
    assert [(each.distribution, each.owner) for each in made.locked.decisions] == [("pyspark", "the cluster")]


def test_a_wheel_that_brings_the_same_package_takes_its_place(site: Site) -> None:
    make_wheel(site.index.directory, "whole", files={"part/__init__.py": b"whole", "part/more.py": b""})
    part = distribution("slim", files={"part/__init__.py": b"slim", "part/gone.py": b""})
    made = site.lock(cluster_of(part), "whole")
    assert made.hidden == (f"{SITE}/part", f"{SITE}/slim-1.0.dist-info")
    assert made.changes.gone == ("slim 1.0",)


def test_files_of_a_namespace_that_another_has_are_not_overwritten(site: Site) -> None:
    make_wheel(site.index.directory, "whole", files={"space/one.py": b"whole"})
    part = distribution("slim", files={"space/one.py": b"slim", "space/two.py": b""})
    error = site.refused(cluster_of(part), "whole")
    assert error.code == "ownership-conflict"
    assert f"`/{SITE}/space/one.py`" in error.message


def test_equal_files_are_no_conflict(site: Site) -> None:
    make_wheel(site.index.directory, "whole", files={"space/__init__.py": b"", "space/one.py": b""})
    part = distribution("slim", files={"space/__init__.py": b"", "space/two.py": b""})
    assert site.lock(cluster_of(part), "whole").hidden == ()


@pytest.mark.parametrize(
    "line", ["alpha", "alpha=1.0", "alpha==1.0", "alpha>=1,<2", "alpha 1.*", "conda-forge::alpha=1", "setuptools"]
)
def test_a_conda_line_that_the_base_satisfies_is_no_conda_package_of_the_models_own(site: Site, line: str) -> None:
    assert laid(site.lock(cluster_of(ALPHA_AND_BETA), conda=(line,))) == {}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("lightgbm", "the base has none of that name"),
        ("alpha=2", "the base has 1.0"),
        ("alpha=1.0=py_0", "the base has 1.0"),
        ("alpha[version='1.0']", "the base has none of that name"),
    ],
)
def test_conda_packages_of_the_models_own_are_refused(site: Site, line: str, why: str) -> None:
    error = site.refused(cluster_of(ALPHA_AND_BETA), conda=(line,))
    assert error.code == "layout-impossible"
    assert why in error.message


def test_all_that_does_not_fit_is_told_at_once(site: Site) -> None:
    error = site.refused(cluster_of(), conda=("one", "two"), python="3.10.4")
    assert error.message.count("\n") == 3
    assert "it needs Python 3.10, and the base has 3.11" in error.message


def test_source_distributions_are_built_by_a_python_of_the_channel(site: Site) -> None:
    made = site.lock(cluster_of(), "./source-1.0.tar.gz", index_url=None)
    assert laid(made) == {"source": "1.0"}
    assert made.locked.cluster is not None
    assert [package.name for package in made.locked.cluster.builder] == ["python"]


def test_without_a_python_nothing_is_built(site: Site, tmp_path: Path) -> None:
    site.channel = make_toy_channel(tmp_path / "other", [toy_python("3.9.1")])
    made = site.lock(cluster_of(), "alpha")
    assert laid(made) == {"alpha": "2.0", "beta": "2.0"}
    assert not made.locked.brings_python
    (note,) = [note for note in made.locked.notes if "compiled" in note]
    assert note.startswith("nothing is compiled or built from source: no channel gives Python 3.11: ")
    assert "Building source distributions for `source` is disabled" in str(
        site.refused(cluster_of(), "./source-1.0.tar.gz")
    )


def test_a_local_version_is_on_the_index_of_its_label(site: Site, tmp_path: Path) -> None:
    make_wheel(tmp_path / "cu117", "torch", "1.13.1+cu117", requires=["alpha"])
    with serve(PackageIndex(tmp_path / "cu117")) as gpu:
        indexes = {"+cu117": gpu.url}
        made = site.lock(cluster_of(ALPHA_AND_BETA), "torch==1.13.1+cu117", local_version_indexes=indexes)
    assert laid(made) == {"torch": "1.13.1+cu117"}


def test_a_local_version_without_an_index_is_the_reason(site: Site) -> None:
    error = site.refused(cluster_of(), "torch==1.13.1+cu117", local_version_indexes={"+cpu": "http://127.0.0.1:9"})
    assert error.code == "package-not-found"
    assert "dependencies[2].pip[0]: torch==1.13.1+cu117" in error.message
    assert error.hint is not None
    assert "`+cu117`" in error.hint


def test_a_lock_is_remembered_for_its_base(site: Site) -> None:
    first = site.lock(cluster_of(ALPHA_AND_BETA), "alpha>=2")
    asked = len(site.index.requests)
    again = site.lock(cluster_of(ALPHA_AND_BETA), "alpha>=2")
    assert again == first
    assert len(site.index.requests) == asked
    other = site.lock(cluster_of(ALPHA_AND_BETA | distribution("beta", "2.0")), "alpha>=2")
    assert other.locked.digest != first.locked.digest


def test_a_lock_comes_back_from_its_record(site: Site) -> None:
    locked = site.lock(cluster_of(ALPHA_AND_BETA), "alpha>=2").locked
    again = LockedEnv.from_record(locked.to_record())
    assert again == locked
    assert again.digest == locked.digest
    assert set(again.files()) == {"pylock.toml"}


def test_files_that_a_distribution_shares_with_one_that_stays_are_not_hidden(site: Site) -> None:
    shared: Root = distribution("alpha", files={"common/__init__.py": b"", "common/a.py": b""})
    shared |= distribution("beta", files={"common/__init__.py": b"", "common/b.py": b""})
    made = site.lock(cluster_of(shared), "alpha>=2")
    assert made.hidden == (
        f"{SITE}/alpha-1.0.dist-info",
        f"{SITE}/common/__pycache__/a.cpython-311.pyc",
        f"{SITE}/common/a.py",
    )
