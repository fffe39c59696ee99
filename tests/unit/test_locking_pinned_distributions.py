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


def test_an_outage_is_no_lack(tmp_path: Path) -> None:
    with pytest.raises(ServiceError):
        found(tmp_path, f"http://127.0.0.1:{free_port()}/simple", "six==1.0")
