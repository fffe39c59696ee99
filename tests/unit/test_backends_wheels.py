from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.wheel_repack import repack
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.errors import DbimageError, InputError
from mlflow_dbimage.locking.environment_solver import IndexAccess
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.progress import SilentProgress
from toy_wheels import install_wheel, make_wheel, read_contents

QUIET = SilentProgress()
IMAGE = "/opt/dbimage/env"
SITE = "lib/python3.11/site-packages"


def locked(path: Path, url: str | None = None, *, in_model: str | None = None) -> LockedWheel:
    name, version, *_ = path.name.split("-")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    size = path.stat().st_size
    return LockedWheel(
        name=name,
        version=version,
        file_name=path.name,
        sha256=sha256,
        size=size,
        url=url,
        path=in_model,
    )


@pytest.fixture
def store(tmp_path: Path) -> WheelStore:
    (tmp_path / "store").mkdir()
    (tmp_path / "unpacked").mkdir()
    return WheelStore(tmp_path / "store", UnpackedWheels(tmp_path / "unpacked"))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    for name in ("one", "two"):
        make_wheel(tmp_path / "index", name)
    with serve(PackageIndex(tmp_path / "index")) as served:
        yield served


def wheels_of(index: PackageIndex) -> list[LockedWheel]:
    return [
        locked(path, f"http://127.0.0.1:{index.port}/files/{path.name}")
        for path in sorted(index.directory.iterdir())
    ]


def left_over(store_root: Path) -> list[str]:
    """Names in the store that are no wheel's."""
    return [path.name for path in store_root.iterdir() if len(path.name) != 64]


def test_a_kept_wheel_has_its_size_where_an_index_tells_none(store: WheelStore, index: PackageIndex) -> None:
    wheels = wheels_of(index)
    unsized = [replace(wheel, size=None) for wheel in wheels]
    assert store.fetch(unsized[:1], IndexAccess(), QUIET) == tuple(wheels[:1])
    assert store.fetch(unsized, IndexAccess(), QUIET) == tuple(wheels), "one is kept, and one is not"
    assert store.fetch(unsized, IndexAccess(), QUIET) == tuple(wheels)


def test_what_is_fetched_once_is_not_fetched_again(store: WheelStore, index: PackageIndex, tmp_path: Path) -> None:
    wheels = wheels_of(index)
    assert store.fetch(wheels, IndexAccess(), QUIET) == tuple(wheels)
    before = len(index.requests)
    assert store.fetch(wheels, IndexAccess(offline=True), QUIET) == tuple(wheels)
    assert len(index.requests) == before == 2
    assert all(store.path(wheel).is_file() for wheel in wheels)
    assert left_over(tmp_path / "store") == []


def test_a_damaged_wheel_is_dropped_and_fetched_again(store: WheelStore, index: PackageIndex) -> None:
    wheels = wheels_of(index)
    store.fetch(wheels, IndexAccess(), QUIET)
    store.path(wheels[0]).write_bytes(b"damaged")
    assert not store.has(wheels[0])
    store.fetch(wheels, IndexAccess(), QUIET)
    assert store.has(wheels[0])
    assert len(index.requests) == 3


def test_other_bytes_than_the_lock_says_are_refused_and_not_kept(
    store: WheelStore, index: PackageIndex, tmp_path: Path
) -> None:
    wheels = wheels_of(index)
    index.broken = {wheel.file_name for wheel in wheels}
    with pytest.raises(DbimageError) as caught:
        store.fetch(wheels, IndexAccess(), QUIET)
    assert caught.value.code == "digest-mismatch"
    assert all(wheel.file_name in caught.value.message for wheel in wheels)
    assert list((tmp_path / "store").iterdir()) == []


def test_a_hash_that_no_index_gave_is_taken_from_the_file(store: WheelStore, index: PackageIndex) -> None:
    wheel = wheels_of(index)[0]
    (got,) = store.fetch([replace(wheel, sha256="", size=None)], IndexAccess(), QUIET)
    assert got == wheel


def test_an_index_that_is_busy_is_asked_again(store: WheelStore, index: PackageIndex) -> None:
    wheel = wheels_of(index)[0]
    index.failing = {wheel.file_name: 2}
    store.fetch([wheel], IndexAccess(), QUIET)
    assert store.has(wheel)


def test_offline_lists_all_that_is_missing(store: WheelStore, index: PackageIndex) -> None:
    with pytest.raises(DbimageError) as caught:
        store.fetch(wheels_of(index), IndexAccess(offline=True), QUIET)
    assert caught.value.code == "offline"
    assert "one 1.0, two 1.0" in caught.value.message
    assert index.requests == []


def test_passwords_of_indexes_are_sent_and_told_to_nobody(tmp_path: Path, store: WheelStore) -> None:
    make_wheel(tmp_path / "closed", "one")
    with serve(PackageIndex(tmp_path / "closed", password="s3cret")) as index:
        wheels = wheels_of(index)
        with pytest.raises(DbimageError) as caught:
            store.fetch(wheels, IndexAccess(index_url=f"http://reader:wr0ng@127.0.0.1:{index.port}/simple"), QUIET)
        assert caught.value.code == "index-failed"
        assert "401" in caught.value.message
        assert "wr0ng" not in str(caught.value)
        store.fetch(wheels, IndexAccess(index_url=index.url_with_password), QUIET)
    assert store.has(wheels[0])


def test_credentials_go_to_their_own_host_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine files.example login me password p1\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    known = IndexCredentials(["https://reader:s%40t@index.example/simple"])
    pair = base64.b64encode(b"reader:s@t").decode()
    assert known.headers("https://index.example/x.whl") == {"Authorization": f"Basic {pair}"}
    assert known.headers("https://index.example:444/x.whl") == {}
    assert known.headers("http://index.example/x.whl") == {}
    assert known.headers("https://other.example/x.whl") == {}
    assert known.headers("https://files.example/x.whl") != {}
    assert known.headers("http://files.example/x.whl") == {}


def test_a_wheel_of_the_model_is_kept_and_never_one_from_outside(store: WheelStore, tmp_path: Path) -> None:
    inside = make_wheel(tmp_path / "model/wheels", "mine")
    outside = make_wheel(tmp_path, "theirs")
    access = IndexAccess(directory=tmp_path / "model", offline=True)
    (kept,) = store.fetch([locked(inside, in_model=f"wheels/{inside.name}")], access, QUIET)
    assert store.has(kept)
    (tmp_path / "model/link.whl").symlink_to(outside)
    for path in (f"../{outside.name}", str(outside), "link.whl"):
        with pytest.raises(DbimageError) as caught:
            store.fetch([locked(outside, in_model=path)], access, QUIET)
        assert caught.value.code == "model-unsafe"
    with pytest.raises(DbimageError) as caught:
        store.fetch([locked(outside, in_model="wheels/lost.whl")], access, QUIET)
    assert caught.value.code == "model-environment-invalid"


RICH = {
    "pkg/__init__.py": b"def main():\n    return 7\n",
    "pkg/__pycache__/__init__.cpython-311.pyc": b"stale",
    "pkg-1.0.data/scripts/tool": b"#!python\nprint('tool')\n",
    "pkg-1.0.data/data/share/pkg/table.csv": b"1\n",
    "pkg-1.0.data/headers/pkg.h": b"/* */\n",
    "pkg-1.0.data/purelib/other.py": b"",
}


def test_every_file_is_known_before_it_is_installed(tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path, "pkg", files=RICH, scripts={"run": "pkg:main"}, requires=["Six>1", "x; extra == 'y'"]
    )
    contents = read_contents(wheel, "3.11")
    prefix = tmp_path / "env"
    install_wheel(wheel, prefix, "3.11", f"{IMAGE}/bin/python")
    installed = sorted(path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if path.is_file())
    assert [file.path for file in contents.files] == installed
    assert f"{SITE}/other.py" in installed
    assert "include/site/python3.11/pkg/pkg.h" in installed
    assert not any("__pycache__" in path for path in installed)
    assert contents.requires == {"six"}
    for file in contents.files:
        if file.sha256 is not None:
            assert file.sha256 == hashlib.sha256((prefix / file.path).read_bytes()).hexdigest()
    unknown = {file.path for file in contents.files if file.sha256 is None}
    assert unknown == {
        "bin/run",
        "bin/tool",
        f"{SITE}/pkg-1.0.dist-info/INSTALLER",
        f"{SITE}/pkg-1.0.dist-info/RECORD",
    }


def test_scripts_name_the_python_of_the_image_and_record_is_true(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "pkg", files=RICH, scripts={"run": "pkg:main"})
    prefix = tmp_path / "env"
    install_wheel(wheel, prefix, "3.11", f"{IMAGE}/bin/python")
    for script in ("run", "tool"):
        assert (prefix / "bin" / script).read_text().splitlines()[0] == f"#!{IMAGE}/bin/python"
        assert os.access(prefix / "bin" / script, os.X_OK)
    site = prefix / SITE
    assert (site / "pkg-1.0.dist-info/INSTALLER").read_text() == "dbimage\n"
    rows = [row.split(",") for row in (site / "pkg-1.0.dist-info/RECORD").read_text().splitlines()]
    listed = {os.path.normpath(site / path) for path, *_ in rows}
    assert listed == {str(path) for path in prefix.rglob("*") if path.is_file()}
    for path, digest, size in rows:
        if digest:
            content = (site / path).read_bytes()
            known = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={known}", len(content))


def test_a_path_of_another_owner_is_neither_written_nor_recorded(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "pkg", files=RICH, scripts={"run": "pkg:main"})
    install_wheel(wheel, tmp_path / "env", "3.11", "/p", [f"{SITE}/other.py", "bin/run", "share/pkg/table.csv"])
    record = (tmp_path / "env" / SITE / "pkg-1.0.dist-info/RECORD").read_text()
    for name in ("other.py", "bin/run", "table.csv"):
        assert name not in record
    assert not (tmp_path / "env/bin/run").exists()
    assert (tmp_path / "env/bin/tool").exists()


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "pkg")
    install_wheel(wheel, tmp_path / "env", "3.11", "/p")
    with pytest.raises(FileExistsError):
        install_wheel(wheel, tmp_path / "env", "3.11", "/p")


@pytest.mark.parametrize(
    "member",
    [
        "../escape.py",
        "/etc/passwd",
        "pkg/../../escape.py",
        "pkg//double.py",
        "pkg\\windows.py",
        "pkg/.wh.victim",
        "pkg-1.0.data/data/../../escape",
        "pkg-1.0.data/data/conda-meta/python.json",
        "pkg-1.0.data/nosuchscheme/x",
    ],
)
def test_a_wheel_that_leaves_its_place_is_refused_before_it_writes(tmp_path: Path, member: str) -> None:
    wheel = make_wheel(tmp_path, "pkg", files={member: b"x"})
    for attempt in (
        lambda: read_contents(wheel, "3.11"),
        lambda: install_wheel(wheel, tmp_path / "env", "3.11", "/p"),
    ):
        with pytest.raises(DbimageError) as caught:
            attempt()
        assert caught.value.code == "model-unsafe"
    assert not (tmp_path / "env").exists()
    assert not list(tmp_path.rglob("escape*"))


@pytest.mark.parametrize("script", ["../../escape", "a/b", ".wh.x"])
def test_a_script_that_leaves_bin_is_refused(tmp_path: Path, script: str) -> None:
    wheel = make_wheel(tmp_path, "pkg", scripts={script: "pkg:main"})
    with pytest.raises(DbimageError) as caught:
        install_wheel(wheel, tmp_path / "env", "3.11", "/p")
    assert caught.value.code == "model-unsafe"
    assert not list(tmp_path.rglob("escape*"))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "pkg")
    with zipfile.ZipFile(wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("pkg/__init__.py", b"another")
    with pytest.raises(DbimageError) as caught:
        read_contents(wheel, "3.11")
    assert "is there twice" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_wheel_is_refused(tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / "pkg-1.0-py3-none-any.whl"
    wheel.write_bytes(content)
    with pytest.raises(DbimageError) as caught:
        read_contents(wheel, "3.11")
    assert caught.value.code == "model-unsafe"


def test_many_wheels_install_into_an_environment_that_runs(store: WheelStore, tmp_path: Path) -> None:
    made = [make_wheel(tmp_path / "model", f"pkg{number}", scripts={f"run{number}": "x:y"}) for number in range(9)]
    wheels = [locked(path, in_model=path.name) for path in made]
    store.fetch(wheels, IndexAccess(directory=tmp_path / "model"), QUIET)
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    store.install(wheels, tmp_path / "env", IMAGE, minor, QUIET)
    code = (
        "import sys, pkg8; from importlib import metadata;"
        "print(metadata.version('pkg8'), len(list(metadata.distributions(path=[sys.argv[1]]))))"
    )
    site = tmp_path / f"env/lib/python{minor}/site-packages"
    done = subprocess.run(
        [sys.executable, "-c", code, str(site)],
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1.0", "9"]


def test_a_wheel_packed_again_has_the_same_bytes_whatever_its_order_and_times(tmp_path: Path) -> None:
    one = make_wheel(tmp_path / "one", "pkg", files={"a.py": b"1", "b.py": b"2"})
    two = tmp_path / "two.whl"
    with zipfile.ZipFile(one) as source, zipfile.ZipFile(two, "w", zipfile.ZIP_DEFLATED) as target:
        for member in reversed(source.infolist()):
            content = source.read(member)
            if member.filename.endswith("RECORD"):
                content = b"".join(reversed(content.splitlines(keepends=True)))
            target.writestr(zipfile.ZipInfo(member.filename, (2024, 1, 2, 3, 4, 6)), content)
    for number, path in enumerate((one, two)):
        repack(path, tmp_path / f"{number}-packed.whl")
    assert (tmp_path / "0-packed.whl").read_bytes() == (tmp_path / "1-packed.whl").read_bytes()
    shutil.copy(tmp_path / "0-packed.whl", tmp_path / one.name)
    assert read_contents(tmp_path / one.name, "3.11").files[0].path == f"{SITE}/a.py"


@pytest.mark.parametrize(
    ("member", "size", "says"),
    [("big-1.0.dist-info/METADATA", 2**30, "bytes in"), ("big/data.bin", 2**40, "would unpack to")],
)
def test_a_wheel_of_an_absurd_size_is_refused(tmp_path: Path, member: str, size: int, says: str) -> None:
    path = make_wheel(tmp_path, "big", files={"big/data.bin": b""})
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo(member).file_size = size
        archive._didModify = True  # type: ignore[attr-defined]  # else nothing is written
    with pytest.raises(InputError, match=says) as caught:
        read_contents(path, "3.11")
    assert caught.value.code == "model-unsafe"
