"""Wheels of a list, out of a real index by the real resolver: all that lack are told, with what comes nearest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.locking import exact_wheels
from mlflow_dbimage.locking.environment_solver import IndexAccess, PipRequest
from mlflow_dbimage.locking.exact_wheels import WheelChoice
from mlflow_dbimage.package_list import PipPin
from mlflow_dbimage.progress import SilentProgress
from services.ports import free_port
from solving import AMD64, make_solver
from toy_wheels import make_sdist, make_wheel

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = f"cp{MINOR.replace('.', '')}"
NEWER = f"{TAG}-{TAG}-manylinux_2_39_x86_64"
FAILS = "raise SystemExit('no compiler')\n"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    directory = tmp_path_factory.mktemp("index")
    for version in ("1.0", "1.2", "1.9", "3.0"):
        make_wheel(directory, "six", version, requires=["absent"])
    make_wheel(directory, "new-glibc", "2.0", tag=NEWER)
    make_wheel(directory, "new-glibc", "1.0")
    make_wheel(directory, "old", "1.0")
    make_sdist(directory, "broken", "1.5", FAILS)
    make_wheel(directory, "broken", "1.4")
    make_wheel(directory, "hyperopt", "0.2.5")
    with serve(PackageIndex(directory)) as served:
        yield served


def chosen(tmp_path: Path, url: str, *pins: str) -> WheelChoice:
    request = PipRequest(
        access=IndexAccess(index_url=url),
        python=".".join(map(str, sys.version_info[:3])),
        interpreter=Path(sys.executable),
        platform=AMD64,
        glibc="2.35",
    )
    wanted = [PipPin(name=pin.partition("==")[0], version=pin.partition("==")[2]) for pin in pins]
    return exact_wheels.choose(wanted, request, make_solver(tmp_path), SilentProgress())


def taken(choice: WheelChoice) -> list[str]:
    return [f"{wheel.name}=={wheel.version}" for _, wheel in choice.taken]


def test_exact_versions_without_what_they_depend_on(tmp_path: Path, index: PackageIndex) -> None:
    choice = chosen(tmp_path, index.url, "six==1.2", "old==1.0")
    assert (taken(choice), choice.drift) == (["old==1.0", "six==1.2"], ())


def test_all_that_lack_are_told_with_the_nearest(tmp_path: Path, index: PackageIndex) -> None:
    pins = ["six==1.3", "old==1.0", "nowhere==1.0", "new-glibc==2.0", "broken==1.5", "hyperopt==0.2.5.db1"]
    choice = chosen(tmp_path, index.url, *pins)
    assert taken(choice) == ["broken==1.4", "hyperopt==0.2.5", "new-glibc==1.0", "old==1.0", "six==1.2"]
    assert {each.wanted: (each.reason, each.taken) for each in choice.drift} == {
        "six==1.3": ("no index has that version", "six==1.2"),
        "nowhere==1.0": ("no index has that version", None),
        "new-glibc==2.0": ("no wheel is for that Python, platform and glibc", "new-glibc==1.0"),
        "broken==1.5": ("it has no wheel, and cannot be built from source", "broken==1.4"),
        "hyperopt==0.2.5.db1": ("no index can have that version: it is a private one", "hyperopt==0.2.5"),
    }


def test_the_newer_neighbour_is_taken_where_it_is_closer(tmp_path: Path, index: PackageIndex) -> None:
    assert taken(chosen(tmp_path, index.url, "six==1.8")) == ["six==1.9"]
    assert taken(chosen(tmp_path, index.url, "six==4.0")) == ["six==3.0"]


def test_an_index_that_does_not_answer_is_no_drift(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        chosen(tmp_path, f"http://127.0.0.1:{free_port()}/simple", "six==1.0", "old==1.0")
    assert caught.value.code == "index-failed"
