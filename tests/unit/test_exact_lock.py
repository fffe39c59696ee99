"""The lock of a list: what it takes, what drifts, and who owns what; the real tools on a toy channel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.errors import DbimageError, MatchError
from mlflow_dbimage.exact_lock import ExactLock, inputs_key, lock, lock_once
from mlflow_dbimage.package_list import CondaPin, PackageList, PipPin
from mlflow_dbimage.progress import SilentProgress
from solving import make_options, make_solver
from toy_channel import ToyPackage, distribution_files, make_toy_channel, toy_python
from toy_wheels import make_wheel

QUIET = SilentProgress()
PYTHON = ".".join(map(str, sys.version_info[:3]))
MINOR = ".".join(PYTHON.split(".")[:2])
NOT_CLOSED = ToyPackage(name="needs-absent", depends=["absent >=3"])
PACKAGES = [
    replace(toy_python(PYTHON), build="h1_0"),
    NOT_CLOSED,
    ToyPackage(name="six", version="1.0", build="py_1", files=distribution_files("six", "1.0", MINOR)),
    ToyPackage(name="old-python", depends=["python >=3.6,<3.7"], files={"share/old": b""}),
    ToyPackage(name="new-glibc", version="2.0", depends=["__glibc >=2.99"]),
    ToyPackage(name="new-glibc", version="1.0"),
]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_toy_channel(tmp_path_factory.mktemp("channel"), PACKAGES)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    directory = tmp_path_factory.mktemp("index")
    make_wheel(directory, "six", "1.0")
    make_wheel(directory, "six", "2.0")
    make_wheel(directory, "needs-six", requires=["six>=9"])
    with serve(PackageIndex(directory)) as served:
        yield served


def listed(*entries: str, python: str = PYTHON, solved: bool = False) -> PackageList:
    conda = [entry.split("=") for entry in entries if "==" not in entry]
    pins = [CondaPin(name=name, version=version, build=(build or [None])[0]) for name, version, *build in conda]
    pip = [
        PipPin(name=entry.partition("==")[0], version=entry.partition("==")[2])
        for entry in entries
        if "==" in entry
    ]
    own = () if solved else (CondaPin(name="python", version=python),)
    return PackageList(
        title="ours",
        runtime=None,
        python=python,
        channels=("conda-forge",),
        conda=(*own, *pins),
        pip=tuple(pip),
    )


def made(tmp_path: Path, channel: str, index: PackageIndex, wanted: PackageList) -> ExactLock:
    return lock(wanted, make_options(channel, index_url=index.url), make_solver(tmp_path), QUIET)


def drift(found: ExactLock) -> list[str]:
    return [str(each) for each in found.drift]


def test_what_a_list_does_not_close_is_not_added(tmp_path: Path, channel: str, index: PackageIndex) -> None:
    found = made(tmp_path, channel, index, listed("needs-absent=1.0=0", "needs-six==1.0"))
    assert [each.name for each in found.locked.conda] == ["needs-absent", "python"]
    assert [each.name for each in found.locked.wheels] == ["needs-six"]
    assert found.drift == ()
    assert found.locked.python == PYTHON


def test_python_alone_comes_with_what_it_needs(tmp_path: Path, channel: str, index: PackageIndex) -> None:
    found = made(tmp_path, channel, index, listed("six==2.0", solved=True, python=f"{MINOR}.99"))
    assert [each.name for each in found.locked.conda] == ["python"]
    assert drift(found) == [f"python={MINOR}.99: no channel has that version; python={PYTHON}=h1_0 is the nearest"]
    assert found.locked.notes == (f"no channel fits Python {MINOR}.99; another {MINOR} is taken",)


def test_a_python_of_another_minor_is_refused(tmp_path: Path, channel: str, index: PackageIndex) -> None:
    with pytest.raises(MatchError) as caught:
        made(tmp_path, channel, index, listed(python="3.6.1"))
    assert (caught.value.code, "no channel has Python 3.6" in caught.value.message) == ("package-not-found", True)


def test_another_python_and_a_newer_glibc_do_not_fit(tmp_path: Path, channel: str, index: PackageIndex) -> None:
    found = made(tmp_path, channel, index, listed("old-python=1.0", "new-glibc=2.0"))
    assert drift(found) == [
        "old-python=1.0: that build needs Python >=3.6,<3.7; nothing comes near",
        "new-glibc=2.0: that build needs glibc >=2.99; new-glibc=1.0=0 is the nearest",
    ]


def test_a_distribution_of_both_parts_has_one_owner(tmp_path: Path, channel: str, index: PackageIndex) -> None:
    same = made(tmp_path, channel, index, listed("six=1.0=py_1", "six==1.0"))
    assert ([each.name for each in same.locked.conda], same.locked.wheels) == (["python", "six"], ())
    other = made(tmp_path, channel, index, listed("six=1.0=py_1", "six==2.0"))
    assert [each.name for each in other.locked.conda] == ["python"]
    assert [each.version for each in other.locked.wheels] == ["2.0"]


def test_drift_is_refused_unless_it_is_allowed_and_then_kept(
    tmp_path: Path, channel: str, index: PackageIndex
) -> None:
    cache, solver = BuildCache(tmp_path / "cache"), make_solver(tmp_path)
    wanted, options = listed("six=1.0=py_7", "six==3.0"), make_options(channel, index_url=index.url)

    def once(*, allow_drift: bool) -> ExactLock:
        return lock_once(wanted, options, solver, cache, QUIET, allow_drift=allow_drift)

    with pytest.raises(MatchError) as caught:
        once(allow_drift=False)
    assert caught.value.code == "base-drift"
    assert "2 of the 3 packages of `ours`" in caught.value.message
    assert "six=1.0=py_7: no channel has that build; six=1.0=py_1 is the nearest" in caught.value.message
    assert "six==3.0: no index has that version; six==2.0 is the nearest" in caught.value.message
    allowed = once(allow_drift=True)
    asked = len(index.requests)
    assert once(allow_drift=True) == allowed
    assert len(index.requests) == asked
    assert ExactLock.from_record(allowed.to_record()) == allowed


def test_the_key_changes_with_the_inputs_and_no_password(tmp_path: Path, channel: str) -> None:
    solver = make_solver(tmp_path)

    def key(wanted: PackageList | None = None, **changes: object) -> str:
        return inputs_key(wanted or listed("six=1.0"), make_options(channel, **changes), solver)

    assert key(index_url="https://a:b@host/simple") == key(index_url="https://host/simple")
    others = [
        key(listed("six=1.1")),
        key(listed("six==1.0")),
        key(glibc="2.17"),
        key(index_url="https://other/simple"),
        key(channels=("other",)),
        key(local_version_indexes={"cpu": "https://other/simple"}),
    ]
    assert len({key(), *others}) == 7


def test_an_unreachable_channel_is_no_drift(tmp_path: Path, index: PackageIndex) -> None:
    with pytest.raises(DbimageError) as caught:
        made(tmp_path, (tmp_path / "nowhere").as_uri(), index, listed("six=1.0"))
    assert caught.value.code == "channel-failed"
