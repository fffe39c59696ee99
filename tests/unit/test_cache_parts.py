"""What the caches hold, and what goes from them."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import pytest

from mlflow_dbimage.cache_parts import STATE_FILE, CacheUse, held, measure, prune

DAY = 86400


def _file(path: Path, size: int, days_ago: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    moment = time.time() - days_ago * DAY
    os.utime(path, (moment, moment))
    return path


def test_what_was_not_used_for_so_long_goes_and_is_counted(tmp_path: Path):
    old, new = _file(tmp_path / "blobs/old", 3, 40), _file(tmp_path / "blobs/new", 5, 1)
    record = _file(tmp_path / "records/locks/key.json", 7, 40)
    assert prune(tmp_path, keep_days=30) == (
        CacheUse(part="blobs", files=1, size=3),
        CacheUse(part="records", files=1, size=7),
    )
    assert (old.exists(), record.exists(), new.exists()) == (False, False, True)
    assert measure(tmp_path) == (
        CacheUse(part="blobs", files=1, size=5),
        CacheUse(part="records", files=0, size=0),
    )


def test_what_was_not_used_for_longest_goes_until_the_rest_fits(tmp_path: Path):
    files = [_file(tmp_path / "blobs" / str(days), 10, days) for days in (3, 2, 1)]
    prune(tmp_path, keep_size=20)
    assert [each.exists() for each in files] == [False, True, True]
    prune(tmp_path, keep_size=20)
    assert [each.exists() for each in files] == [False, True, True]


def test_of_the_last_hour_nothing_goes_because_there_is_too_much(tmp_path: Path):
    file = _file(tmp_path / "blobs/x", 10, 0.01)
    prune(tmp_path, keep_size=0)
    assert file.exists()
    prune(tmp_path, keep_days=0)
    assert not file.exists()


def test_what_a_library_keeps_as_one_goes_as_one(tmp_path: Path):
    old, young = _file(tmp_path / "conda/pkg/a", 10, 9), _file(tmp_path / "conda/pkg/b", 10, 1)
    prune(tmp_path, keep_days=5)
    assert old.exists()
    os.utime(young, (0, 0))
    prune(tmp_path, keep_days=5)
    assert not old.parent.exists()


def test_what_a_library_reads_is_in_use(tmp_path: Path):
    file = _file(tmp_path / "conda/pkgs/python/os.py", 10, 900)
    for hours, stays in ((20, True), (30, False)):
        os.utime(file, (time.time() - hours * 3600, file.stat().st_mtime))
        prune(tmp_path, keep_days=30, keep_size=0)
        assert file.exists() == stays


def test_builds_under_way_and_their_locks_stay(tmp_path: Path):
    work, left = _file(tmp_path / "work/running/env/x", 10, 0.5), _file(tmp_path / "work/left/env/x", 10, 2)
    unpacked = _file(tmp_path / "work/unpacking/root/x", 10, 9000)  # has the time that it has in a layer
    lock = _file(tmp_path / "locks/one.lock", 0, 0.5)
    two_days_ago = time.time() - 2 * DAY
    os.utime(left.parents[1], (two_days_ago, two_days_ago))
    prune(tmp_path, keep_days=0)
    assert (work.exists(), unpacked.exists(), left.exists(), lock.exists()) == (True, True, False, True)


def test_the_time_of_a_folder_with_a_state_is_that_of_its_last_use(tmp_path: Path):
    layer = _file(tmp_path / "roots/key/root/etc/x", 10, 9000)
    state = _file(layer.parents[2] / STATE_FILE, 1, 9000)
    with held(state.parent, alone=False):
        pass
    prune(tmp_path, keep_days=5)
    assert layer.exists()


def test_a_folder_is_held_by_many_or_by_one(tmp_path: Path):
    _file(tmp_path / STATE_FILE, 1, 0)
    with held(tmp_path, alone=False), held(tmp_path, alone=False):
        with pytest.raises(OSError), held(tmp_path, alone=True):
            pass
    with held(tmp_path, alone=True):
        pass


def test_who_waited_for_a_folder_that_went_meanwhile_has_nothing(tmp_path: Path):
    state = _file(tmp_path / "key" / STATE_FILE, 1, 0)

    def use() -> None:
        with held(state.parent, alone=False):
            pass

    with ThreadPoolExecutor(1) as threads:
        with held(state.parent, alone=True):
            waiting = threads.submit(use)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
            shutil.rmtree(state.parent)
        with pytest.raises(FileNotFoundError):
            waiting.result(30)


def test_a_cache_that_is_not_there_holds_nothing(tmp_path: Path):
    assert measure(tmp_path / "none") == prune(tmp_path / "none", keep_days=0) == ()
