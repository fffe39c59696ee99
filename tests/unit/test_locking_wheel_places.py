"""The wheels of a base are found by a real resolver on the index of the site that builds on it, by their hash."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.environment_solver import IndexAccess, PipRequest
from mlflow_dbimage.locking.locked_packages import LockedWheel, WheelSource
from mlflow_dbimage.locking.wheel_places import located
from mlflow_dbimage.progress import SilentProgress
from solving import AMD64, make_solver
from toy_wheels import make_sdist, make_wheel, wheel_name

SETUP = "from setuptools import setup; setup(name='built', version='1.0')\n"


class Hashless(PackageIndex):
    """An index that gives no hashes."""

    def _entry(self, path: Path) -> dict[str, object]:
        return {**super()._entry(path), "hashes": {}}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    directory = tmp_path / "index"
    for name in ("small", "other"):
        make_wheel(directory, name, "1.0", requires=["absent"])
    make_sdist(directory, "built", "1.0", SETUP)
    with serve(PackageIndex(directory, password="canary-of-this-site")) as served:
        yield served


def request(url: str, **access: object) -> PipRequest:
    return PipRequest(
        access=IndexAccess(index_url=url, **access),  # type: ignore[arg-type]  # values of a test's choice
        python=".".join(map(str, sys.version_info[:3])),
        interpreter=Path(sys.executable),
        platform=AMD64,
        glibc="2.28",
    )


def of_a_base(index: PackageIndex, name: str) -> LockedWheel:
    """A wheel as the inventory of a base has it."""
    path = index.directory / wheel_name(name, "1.0")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return LockedWheel(name=name, version="1.0", file_name=path.name, sha256=digest, size=path.stat().st_size)


def test_a_wheel_is_found_where_this_site_has_it(tmp_path: Path, index: PackageIndex) -> None:
    wheel, solver = of_a_base(index, "small"), make_solver(tmp_path / "cache")
    wanted = request(index.url_with_password)
    (found,) = located([wheel], wanted, solver)
    assert found == replace(wheel, url=f"http://127.0.0.1:{index.port}/files/{wheel.file_name}")
    assert solver.wheels.fetch([found], wanted.access, SilentProgress()) == (found,)
    index.requests.clear()
    assert located([wheel], wanted, solver) == (wheel,), "it is kept here"
    assert index.requests == []


def test_an_index_without_hashes_is_known_by_the_file(tmp_path: Path, index: PackageIndex) -> None:
    wheel, solver = of_a_base(index, "small"), make_solver(tmp_path / "cache")
    with serve(Hashless(index.directory)) as hashless:
        (found,) = located([wheel], request(hashless.url), solver)
    assert found.url is not None
    assert (found.url.rpartition("/")[2], found.sha256) == (wheel.file_name, wheel.sha256)


def test_all_that_an_index_lacks_are_told(tmp_path: Path, index: PackageIndex) -> None:
    small, other = of_a_base(index, "small"), replace(of_a_base(index, "other"), sha256="0" * 64)
    gone = replace(small, name="gone", file_name="gone-1.0-py3-none-any.whl", sha256="1" * 64)
    with pytest.raises(MatchError) as caught:
        located([gone, small, other], request(index.url_with_password), make_solver(tmp_path / "cache"))
    assert caught.value.code == "package-not-found"
    assert caught.value.message == (
        "the index lacks wheels that the golden base was built with, gone 1.0 and 1 more:\n"
        "  gone 1.0: no index has that version\n"
        f"  other 1.0: the index has no `other-1.0-py3-none-any.whl` with sha256 {'0' * 64}"
    )
    assert "build the base again" in str(caught.value.hint)


def test_what_is_built_from_source_is_found_by_the_source(tmp_path: Path, index: PackageIndex) -> None:
    archive = index.directory / "built-1.0.tar.gz"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    source = WheelSource(kind="sdist", location=f"https://gone.example/x/{archive.name}", sha256=digest)
    wheel = LockedWheel(
        name="built", version="1.0", file_name="b.whl", sha256="2" * 64, size=1, built_from=source
    ).without_place()
    wanted, solver = request(index.url_with_password), make_solver(tmp_path / "cache")
    (found,) = located([wheel], wanted, solver)
    place = f"http://127.0.0.1:{index.port}/files/{archive.name}"
    assert found == replace(wheel, built_from=replace(source, location=place))
    other = replace(wheel, built_from=replace(source, location=archive.name, sha256="3" * 64))
    with pytest.raises(MatchError, match=f"no `{archive.name}` with sha256 {'3' * 64}"):
        located([other], wanted, solver)


def test_offline_nothing_is_looked_up(tmp_path: Path, index: PackageIndex) -> None:
    wheel = of_a_base(index, "small")
    wanted = request(index.url_with_password, offline=True)
    assert located([wheel], wanted, make_solver(tmp_path / "cache")) == (wheel,)
    assert index.requests == []
