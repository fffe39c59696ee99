"""The cache: what is put in comes out, what is corrupted does not, and nothing is half-written."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_dbimage import cache_parts
from mlflow_dbimage.build_cache import BuildCache, cache_key, scratch_directory, write_aside
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.digest import Digest
from other_users import FIRST, SECOND, as_user, folder_of_group


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    return BuildCache.open(tmp_path / "cache")


def test_a_record_comes_back_as_it_was_put(cache: BuildCache) -> None:
    cache.put_record("locks", "a" * 64, {"b": [1, 2], "a": {"c": None}})
    assert cache.record("locks", "a" * 64) == {"b": [1, 2], "a": {"c": None}}
    assert cache.record("locks", "b" * 64) is None
    cache.drop_record("locks", "a" * 64)
    assert cache.record("locks", "a" * 64) is None


@pytest.mark.parametrize("damage", [b"", b"{", b'{"checksum": "x", "content": {}}', b"[]", b"null", b"[" * 9999])
def test_a_damaged_record_counts_as_none_and_is_dropped(cache: BuildCache, damage: bytes) -> None:
    cache.put_record("locks", "k", {"a": 1})
    path = cache.root / "records" / "locks" / "k.json"
    path.write_bytes(damage)
    assert cache.record("locks", "k") is None
    assert not path.exists()


def test_a_record_with_one_changed_value_counts_as_none(cache: BuildCache) -> None:
    cache.put_record("locks", "k", {"a": 1})
    path = cache.root / "records" / "locks" / "k.json"
    path.write_bytes(path.read_bytes().replace(b'"a": 1', b'"a": 2'))
    assert cache.record("locks", "k") is None


def test_an_intact_blob_is_kept_and_a_corrupted_one_is_dropped(cache: BuildCache) -> None:
    digest = Digest.of(b"layer")
    assert not cache.has_intact_blob(digest)
    cache.blob_path(digest).write_bytes(b"layer")
    assert cache.has_intact_blob(digest)
    cache.blob_path(digest).write_bytes(b"other")
    assert not cache.has_intact_blob(digest)
    assert not cache.blob_path(digest).exists()


def test_a_blob_that_is_gone_is_a_clear_error(cache: BuildCache) -> None:
    with pytest.raises(ServiceError, match="gone from the cache") as caught:
        cache.open_blob(Digest.of(b"nothing"))
    assert caught.value.code == "disk-failed"


def test_keys_depend_on_every_part_and_not_on_the_process() -> None:
    assert cache_key("a", ["b"]) != cache_key("a", ["c"])
    assert cache_key({"x": 1, "y": 2}) == cache_key({"y": 2, "x": 1})
    script = "from mlflow_dbimage.build_cache import cache_key; print(cache_key('a', [1]))"
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split()[-1] == cache_key("a", [1])


def test_writing_aside_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "file").write_bytes(b"old")
    with pytest.raises(ServiceError) as caught:
        write_aside(target, b"new")  # a directory cannot be replaced by a file
    assert caught.value.code == "disk-failed"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(ServiceError):
        write_aside(target / "gone" / "file", b"new")
    write_aside(target / "file", b"new")
    assert (target / "file").read_bytes() == b"new"


def test_work_directories_go_and_those_left_behind_are_swept(cache: BuildCache) -> None:
    left = cache.directory("work") / "left"
    left.mkdir()
    long_ago = time.time() - 3 * 86400
    os.utime(left, (long_ago, long_ago))
    with cache.work_directory() as work:
        (work / "file").write_bytes(b"x")
        assert not left.exists()
    assert not work.exists()


def test_a_lock_makes_another_process_wait(cache: BuildCache, tmp_path: Path) -> None:
    order = tmp_path / "order"
    script = f"""
from pathlib import Path
from mlflow_dbimage.build_cache import BuildCache
with BuildCache(Path({str(cache.root)!r})).lock("one"):
    with open({str(order)!r}, "a") as stream: stream.write("second ")
"""
    with cache.lock("one"):
        process = subprocess.Popen([sys.executable, "-c", script])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        order.write_text("first ")
    assert process.wait(timeout=30) == 0
    assert order.read_text() == "first second "


def test_a_cache_that_holds_too_much_is_trimmed(tmp_path: Path) -> None:
    cache = BuildCache(tmp_path, most=5)
    old, new = Digest.of(b"old"), Digest.of(b"new")
    for digest, content in ((old, b"old"), (new, b"new")):
        cache.blob_path(digest).write_bytes(content)
    long_ago = time.time() - 86400
    os.utime(cache.blob_path(old), (long_ago, long_ago))
    cache.trim()
    assert cache.has_intact_blob(new)
    assert not cache.has_intact_blob(old)


def test_a_folder_that_cannot_be_written_to_is_replaced_by_a_temporary_one(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    cache = BuildCache.open(blocked / "cache")
    assert cache.root != blocked / "cache"
    cache.put_record("locks", "k", {"a": 1})
    assert cache.record("locks", "k") == {"a": 1}


def test_streams_are_digested_in_pieces() -> None:
    data = os.urandom((1 << 20) + 17)
    assert Digest.of_stream(io.BytesIO(data)) == Digest.of(data)


def test_a_scratch_directory_goes_though_a_thread_still_writes_into_it(tmp_path: Path) -> None:
    """As rattler's threads do for a moment after Ctrl-C."""
    over = threading.Event()

    def write(folder: Path) -> None:
        for number in range(200):
            with contextlib.suppress(FileNotFoundError):
                folder.mkdir(exist_ok=True)
                (folder / str(number)).write_bytes(b"")
        over.set()

    with pytest.raises(KeyboardInterrupt), scratch_directory(tmp_path) as scratch:
        thread = threading.Thread(target=write, args=(scratch / "inside",))
        thread.start()
        raise KeyboardInterrupt
    thread.join()
    assert over.is_set()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shared() -> Iterator[Path]:
    with folder_of_group() as folder:
        yield folder


@pytest.mark.root
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_users_of_a_group_share_a_cache(shared: Path) -> None:
    digest = Digest.of(b"layer")

    def first() -> None:
        cache = BuildCache.open(shared)
        with cache.lock("one"), cache.work_directory():
            cache.put_record("locks", "k", {"a": 1})
            cache.blob_path(digest).write_bytes(b"layer")

    def second() -> None:
        cache = BuildCache.open(shared)
        assert cache.root == shared
        with cache.lock("one"), cache.work_directory():
            assert cache.record("locks", "k") == {"a": 1}
            assert cache.has_intact_blob(digest)
            cache.put_record("locks", "k", {"a": 2})
        cache_parts.prune(shared, keep_days=0)
        assert not cache.has_intact_blob(digest)

    as_user(FIRST, 0o002, first)
    as_user(SECOND, 0o002, second)


@pytest.mark.root
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_cache_that_another_user_keeps_to_himself_is_replaced(shared: Path) -> None:
    shared.chmod(0o777)

    def first() -> None:
        BuildCache.open(shared).put_record("locks", "k", {"a": 1})

    def second() -> None:
        tempfile.tempdir = str(shared)  # the tests' own may be closed to others
        cache = BuildCache.open(shared)
        assert cache.root != shared
        assert cache.record("locks", "k") is None
        cache.put_record("locks", "k", {"a": 2})
        shutil.rmtree(cache.root)  # the process ends without doing it

    as_user(FIRST, 0o022, first)
    as_user(SECOND, 0o022, second)
