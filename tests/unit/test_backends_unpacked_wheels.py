"""Wheels that are unpacked once: linked into environments, and never so that damage gets there."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from light_build import flip
from mlflow_dbimage.backends import wheel_prefix
from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.wheel_prefix import PlacedWheel
from mlflow_dbimage.cache_parts import STATE_FILE, measure, prune
from mlflow_dbimage.errors import InputError, ServiceError
from toy_wheels import make_wheel

SITE = "lib/python3.11/site-packages"
FILES = {
    "pkg/__init__.py": b"version = 1\n",
    "pkg/empty.py": b"",
    "pkg/big.bin": bytes(range(256)) * 3000,
    "pkg-1.0.data/scripts/tool": b"#!python\nprint('tool')\n",
}


class Bench:
    """A wheel and what is unpacked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheel = make_wheel(folder, "pkg", files=FILES, scripts={"run": "pkg:main"})
        self.sha256 = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        (folder / "cache" / "unpacked").mkdir(parents=True)
        self.unpacked = UnpackedWheels(folder / "cache" / "unpacked")
        self.place = folder / "cache" / "unpacked" / f"{self.sha256}-{os.geteuid()}"

    def install(self, name: str) -> dict[str, str]:
        """Install into a new prefix, and return the hash of each file."""
        prefix = self.folder / name
        self.unpacked.install(self.sha256, self.wheel, PlacedWheel(prefix, "3.11", "/p/bin/python"))
        return {
            path.relative_to(prefix).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in prefix.rglob("*")
            if path.is_file()
        }

    def file_of(self, path: str) -> Path:
        """Return where a file of the wheel is unpacked."""
        files = self.unpacked.listing(self.sha256, self.wheel).files
        return self.place / str([file.path for file in files].index(path))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_environments_share_the_files_of_a_wheel_but_for_those_that_are_written(bench: Bench) -> None:
    assert bench.install("one") == bench.install("two")
    shared = {
        path.relative_to(bench.folder / "one").as_posix()
        for path in (bench.folder / "one").rglob("*")
        if path.is_file() and path.samefile(bench.folder / "two" / path.relative_to(bench.folder / "one"))
    }
    info = f"{SITE}/pkg-1.0.dist-info"
    assert {f"{SITE}/pkg/__init__.py", f"{SITE}/pkg/empty.py", f"{info}/INSTALLER"} <= shared
    assert shared.isdisjoint({"bin/run", "bin/tool", f"{info}/RECORD"})
    for path in shared:
        assert not (bench.folder / "one" / path).stat().st_mode & 0o222


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def _longer(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"#")


def _linked_elsewhere(path: Path) -> None:
    other = path.parent.parent / "other"
    other.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(other)


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [flip, _gone, _cut, _longer, _linked_elsewhere, _a_pipe])
@pytest.mark.parametrize("path", ["pkg/__init__.py", "pkg/big.bin", "tool"])
def test_a_damaged_file_gets_nowhere_and_is_unpacked_again(
    bench: Bench, harm: Callable[[Path], None], path: str
) -> None:
    whole = bench.install("one")
    harm(bench.file_of(path))
    assert bench.install("two") == whole
    assert bench.install("three") == whole
    assert bench.file_of(path).read_bytes() in FILES.values()


@pytest.mark.parametrize("harm", [flip, _gone, _cut])
def test_a_damaged_listing_is_made_again(bench: Bench, harm: Callable[[Path], None]) -> None:
    whole = bench.install("one")
    before = bench.place.stat().st_ino
    assert bench.install("two") == whole
    assert bench.place.stat().st_ino == before
    harm(bench.place / STATE_FILE)
    assert bench.install("three") == whole
    assert bench.place.stat().st_ino != before


def test_the_listing_of_another_wheel_is_none(bench: Bench) -> None:
    whole = bench.install("one")
    other = make_wheel(bench.folder, "other")
    sha256 = hashlib.sha256(other.read_bytes()).hexdigest()
    bench.unpacked.listing(sha256, other)
    (bench.place.parent / f"{sha256}-{os.geteuid()}" / STATE_FILE).replace(bench.place / STATE_FILE)
    assert bench.install("two") == whole


def _open_to_all(path: Path) -> None:
    path.chmod(0o666)


def _of_another_user(path: Path) -> None:
    os.chown(path, 65533, 65533)


@pytest.mark.parametrize("give", [_open_to_all, pytest.param(_of_another_user, marks=pytest.mark.root)])
def test_what_others_can_write_to_is_copied(bench: Bench, give: Callable[[Path], None]) -> None:
    whole = bench.install("one")
    path = bench.file_of("pkg/__init__.py")
    give(path)
    assert bench.install("two") == whole
    installed = bench.folder / "two" / SITE / "pkg/__init__.py"
    assert not installed.samefile(path)
    status = installed.stat()
    assert (status.st_uid, status.st_mode & 0o022) == (os.geteuid(), 0)


def test_a_listing_that_others_can_write_to_is_none(bench: Bench) -> None:
    whole = bench.install("one")
    (bench.place / STATE_FILE).chmod(0o666)
    assert bench.install("two") == whole
    assert not (bench.place / STATE_FILE).stat().st_mode & 0o022


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_files_are_copied_where_none_can_be_linked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    whole = bench.install("one")

    def link(*paths: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(wheel_prefix.os, "link", link)
    assert bench.install("two") == whole
    flip(bench.file_of("pkg/big.bin"))
    assert bench.install("three") == whole


def test_a_disk_that_loses_what_is_written_ends_the_build(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.install("one")

    def link(source: str, target: str, **options: object) -> None:
        Path(target).write_bytes(b"lost")
        Path(target).chmod(0o444)

    monkeypatch.setattr(wheel_prefix.os, "link", link)
    with pytest.raises(ServiceError) as caught:
        bench.install("two")
    assert caught.value.code == "disk-failed"
    assert bench.wheel.name in caught.value.message
    assert [path for path in (bench.folder / "two").rglob("*") if path.is_file()] == []


def test_a_wheel_that_must_not_be_installed_leaves_nothing(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "pkg", files={"pkg/a.py": b"", "pkg-1.0.data/nosuchscheme/x": b"x"})
    with pytest.raises(InputError):
        UnpackedWheels(tmp_path).listing("0" * 64, wheel)
    assert list(tmp_path.iterdir()) == [wheel]


def test_unpacked_wheels_go_as_a_whole_when_they_were_not_used_for_long(bench: Bench) -> None:
    whole = bench.install("one")
    (use,) = measure(bench.folder / "cache")
    assert use.files == len(list(bench.place.iterdir()))
    os.utime(bench.place / STATE_FILE, (1, 1))
    bench.install("two")
    prune(bench.folder / "cache", keep_days=1)
    assert bench.unpacked.has(bench.sha256), "it was used a moment ago"
    os.utime(bench.place / STATE_FILE, (1, 1))
    prune(bench.folder / "cache", keep_days=1)
    assert not bench.unpacked.has(bench.sha256)
    assert bench.install("three") == whole
