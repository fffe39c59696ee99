"""Exact versions on a real index, by the real resolver: each that is there, and why each other is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.locking.environment_solver import IndexAccess, PipRequest
from mlflow_dbimage.locking.pinned_distributions import NO_WHEEL, PinnedDistributions, find
from mlflow_dbimage.package_list import PipPin
from services.ports import free_port
from solving import AMD64, make_solver
from toy_wheels import make_wheel

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    directory = tmp_path_factory.mktemp("index")
    make_wheel(directory, "six", "1.0", requires=["six==2.0", "absent"])
    make_wheel(directory, "array", "1.0", requires=["six==3.0"])
    make_wheel(directory, "new-glibc", "1.0", tag=f"{TAG}-{TAG}-manylinux_2_39_x86_64")
    with serve(PackageIndex(directory)) as served:
        yield served


def found(folder: Path, url: str, *pins: str, **access: Any) -> PinnedDistributions:
    newest = datetime(2099, 1, 1, tzinfo=timezone.utc) if access.pop("dated", False) else None
    request = PipRequest(
        access=IndexAccess(index_url=url, **access),
        exclude_newer=newest,
        python=".".join(map(str, sys.version_info[:3])),
        interpreter=None,
        platform=AMD64,
        glibc="2.35",
    )
    wanted = [PipPin(name=name, version=version) for name, _, version in (pin.partition("==") for pin in pins)]
    return find(wanted, request, make_solver(folder).pip)


def test_each_stands_for_itself(tmp_path: Path, index: PackageIndex) -> None:
    answer = found(tmp_path, index.url, "array==1.0", "six==2.0", "new-glibc==1.0", "six==x.db1", "six==1.0")
    assert [(str(pin), each.version) for pin, each in answer.found] == [("array==1.0", "1.0"), ("six==1.0", "1.0")]
    assert {str(pin): reason for pin, reason in answer.failed} == {
        "six==2.0": "no index has that version",
        "new-glibc==1.0": NO_WHEEL,
        "six==x.db1": "no index can have that version: it is a private one",
    }


def test_a_local_version_is_on_the_index_of_its_label(tmp_path: Path, index: PackageIndex) -> None:
    make_wheel(tmp_path / "cu117", "torch", "1.13.1+cu117")
    make_wheel(tmp_path / "cu117", "six", "0.1")
    make_wheel(index.directory, "torch", "1.13.1")
    pins = ("torch==1.13.1+cu117", "six==1.0")
    with serve(PackageIndex(tmp_path / "cu117", password="s3cret")) as gpu:
        indexes = {"+cu117": gpu.url_with_password, "+cpu": "http://127.0.0.1:9"}
        answer = found(tmp_path, index.url, *pins, local_version_indexes=indexes)
    assert [str(pin) for pin, _ in answer.found] == list(pins)
    assert [str(pin) for pin, _ in found(tmp_path, index.url, *pins).failed] == ["torch==1.13.1+cu117"]


def test_what_has_no_age_is_told(tmp_path: Path, index: PackageIndex) -> None:
    answer = found(tmp_path, index.url, "six==1.0", "six==9.0", dated=True)
    assert [str(pin) for pin, _ in answer.found] == ["six==1.0"]
    (note,) = answer.notes
    assert "six" in note


def test_an_outage_is_no_lack(tmp_path: Path) -> None:
    with pytest.raises(ServiceError):
        found(tmp_path, f"http://127.0.0.1:{free_port()}/simple", "six==1.0")
