"""What unpacks without end is ended, and nothing else is held up for longer."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import pytest

from mlflow_dbimage.backends.unpacking_watch import UnpackingWatch
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci import disk_room


def let_room_be(free: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=free[0]))


def write_until_it_fails(path: Path) -> OSError:
    with pytest.raises(OSError, match="too large") as caught, path.open("wb", buffering=0) as out:
        for _ in range(1 << 20):
            out.write(bytes(1024))
    return caught.value


def test_files_grow_again_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, free = resource.getrlimit(resource.RLIMIT_FSIZE), [disk_room.RESERVE + 1]
    let_room_be(free, monkeypatch)
    with UnpackingWatch([tmp_path]) as watch:
        watch.begin(7, "done")
        watch.begin(8, "evil")
        watch.end(7)
        free[0] -= 2
        write_until_it_fails(tmp_path / "file")
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ServiceError, match=r"`evil` unpacks to more .* has 268,435,455 bytes left") as caught:
        watch.refuse()
    assert caught.value.code == "disk-failed"


def test_a_disk_that_is_almost_full_may_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [disk_room.RESERVE // 2]
    let_room_be(free, monkeypatch)
    with UnpackingWatch([tmp_path]) as watch:
        (tmp_path / "file").write_bytes(b"x")
    watch.refuse()
    with UnpackingWatch([tmp_path]) as watch:
        free[0] = disk_room.RESERVE // 4 - 1
        write_until_it_fails(tmp_path / "file")
    with pytest.raises(ServiceError):
        watch.refuse()


def test_two_at_once_leave_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, free = resource.getrlimit(resource.RLIMIT_FSIZE), [disk_room.RESERVE + 1]
    let_room_be(free, monkeypatch)
    with UnpackingWatch([tmp_path]), UnpackingWatch([tmp_path]):
        free[0] = 0
        write_until_it_fails(tmp_path / "file")
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
