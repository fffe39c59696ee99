from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.installed_env import LockInstaller
from mlflow_dbimage.locked_env import LockedEnv, cutoff, lock, lock_once
from mlflow_dbimage.locking.environment_solver import IndexAccess
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.progress import SilentProgress
from solving import ARM64, make_options, make_solver, make_spec
from toy_channel import ToyPackage, distribution_files, make_toy_channel, toy_python
from toy_wheels import make_sdist, make_wheel

QUIET = SilentProgress()
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = ".".join(map(str, sys.version_info[:3]))
SITE = f"lib/python{MINOR}/site-packages"
IMAGE = "/opt/dbimage/env"

PACKAGES = [
    toy_python(PYTHON),
    replace(toy_python(PYTHON), subdir="linux-aarch64"),
    ToyPackage(name="six", version="1.0", files=distribution_files("six", "1.0", MINOR)),
    ToyPackage(name="bare", version="1.0", files={f"{SITE}/bare.py": b"old\n"}),
    ToyPackage(
        name="shared",
        files={f"{SITE}/same.py": b"same\n", f"{SITE}/other.py": b"conda\n", f"{SITE}/shared.py": b""},
    ),
    ToyPackage(name="libx", files={"share/x": b"libx"}),
    ToyPackage(name="libx-user", depends=["libx"], files={"share/x": b"user"}),
]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_toy_channel(tmp_path_factory.mktemp("channel"), PACKAGES)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    directory = tmp_path / "index"
    make_wheel(directory, "six", "1.0", {"six/__init__.py": b"x = 1\n"})
    make_wheel(directory, "six", "2.0", {"six/__init__.py": b"x = 2\n"})
    make_wheel(directory, "needs-six", requires=["six"], scripts={"needs-six": "needs_six:main"})
    make_wheel(directory, "needs-new-six", requires=["six>=2"])
    make_wheel(directory, "bare", "1.0", {"bare.py": b"new\n"})
    make_wheel(directory, "twin", "1.0", {"same.py": b"same\n", "twin.py": b""})
    make_wheel(directory, "clash", "1.0", {"other.py": b"pip\n"})
    with serve(PackageIndex(directory)) as served:
        yield served


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def solve(
    tmp_path: Path, model: Path, channel: str, index: PackageIndex, *, conda=(), pip=(), **changes
) -> LockedEnv:
    spec = make_spec(model, PYTHON, conda=tuple(conda), pip=tuple(pip))
    options = make_options(channel, index_url=index.url, **changes)
    return lock(spec, options, make_solver(tmp_path / "cache"), QUIET)


def install(locked: LockedEnv, tmp_path: Path, cache: str = "cache", name: str = "env", **access) -> Path:
    installer = LockInstaller(solver=make_solver(tmp_path / cache), access=IndexAccess(**access))
    installer.install(locked, tmp_path / name, IMAGE, QUIET)
    return tmp_path / name


def owners(locked: LockedEnv) -> dict[str, str]:
    return {decision.distribution: decision.owner for decision in locked.decisions}


def test_the_same_version_of_both_is_condas(tmp_path, model, channel, index) -> None:
    locked = solve(tmp_path, model, channel, index, conda=["six"], pip=["needs-six"])
    assert [wheel.name for wheel in locked.wheels] == ["needs-six"]
    assert owners(locked) == {"six": "conda"}
    prefix = install(locked, tmp_path)
    assert (prefix / f"{SITE}/six-1.0.dist-info/INSTALLER").read_text() == "conda\n"
    assert (prefix / "bin/needs-six").read_text().startswith(f"#!{IMAGE}/bin/python\n")


@pytest.mark.parametrize("pip", [["six==2.0"], ["needs-new-six"]])
def test_another_version_is_pips_and_the_conda_package_is_left_out(tmp_path, model, channel, index, pip) -> None:
    locked = solve(tmp_path, model, channel, index, conda=["six"], pip=pip)
    assert "six" not in {package.name for package in locked.conda}
    assert owners(locked) == {"six": "pip"}
    prefix = install(locked, tmp_path)
    assert (prefix / f"{SITE}/six/__init__.py").read_bytes() == b"x = 2\n"
    assert not (prefix / f"{SITE}/six-1.0.dist-info").exists()


def test_a_conda_package_without_metadata_gives_way_to_pip(tmp_path, model, channel, index) -> None:
    locked = solve(tmp_path, model, channel, index, conda=["bare"], pip=["bare"])
    assert owners(locked) == {"bare": "pip"}
    assert (install(locked, tmp_path) / f"{SITE}/bare.py").read_bytes() == b"new\n"


def test_the_same_file_under_another_name_is_written_once(tmp_path, model, channel, index) -> None:
    locked = solve(tmp_path, model, channel, index, conda=["shared"], pip=["twin"])
    (twin,) = locked.wheels
    assert twin.omitted == (f"{SITE}/same.py",)
    assert "same.py" not in (install(locked, tmp_path) / f"{SITE}/twin-1.0.dist-info/RECORD").read_text()


def test_other_content_under_another_name_is_refused(tmp_path, model, channel, index) -> None:
    with pytest.raises(DbimageError) as caught:
        solve(tmp_path, model, channel, index, conda=["shared"], pip=["clash"])
    assert caught.value.code == "ownership-conflict"
    assert f"`{SITE}/other.py`: of conda's shared and of pip's clash 1.0" in caught.value.message


def test_a_path_of_two_conda_packages_is_decided_and_told(tmp_path, model, channel, index) -> None:
    locked = solve(tmp_path, model, channel, index, conda=["libx-user"])
    assert owners(locked) == {"share/x": "libx-user"}
    assert (install(locked, tmp_path) / "share/x").read_bytes() == b"user"


def test_mirrors_do_not_change_the_lock_and_it_installs_without_solving(tmp_path, model, channel, index) -> None:
    mirror = make_toy_channel(tmp_path / "a/deeper/mirror", PACKAGES)
    wishes = {"conda": ["libx-user"], "pip": ["needs-six"]}
    one = solve(tmp_path, model, channel, index, **wishes)
    with serve(PackageIndex(index.directory)) as other_index:
        two = solve(tmp_path / "two", model, mirror, other_index, **wishes)
    assert one.to_record() != two.to_record()
    assert (one.digest, one.files()) == (two.digest, two.files())
    assert one.channel_urls() == two.channel_urls()
    read = LockedEnv.from_record(json.loads(json.dumps(one.to_record())))
    assert read == one
    prefix = install(read, tmp_path, cache="an empty cache")
    assert (prefix / f"{SITE}/six/__init__.py").is_file()


def test_offline_needs_what_the_caches_have(tmp_path, model, channel, index) -> None:
    locked = solve(tmp_path, model, channel, index, conda=["six"], pip=["needs-six"])
    again = solve(tmp_path, model, channel, index, conda=["six"], pip=["needs-six"], offline=True)
    assert again == locked
    install(locked, tmp_path, offline=True)
    with pytest.raises(DbimageError) as caught:
        install(locked, tmp_path, cache="cold", name="second", offline=True)
    assert caught.value.code == "offline"
    assert "needs-six 1.0" in caught.value.message


def test_the_digest_covers_what_is_installed_and_no_url(tmp_path, model, channel, index) -> None:
    locked = solve(tmp_path, model, channel, index, pip=["needs-six"])
    moved = replace(
        locked,
        wheels=tuple(replace(wheel, url="https://elsewhere.example/x") for wheel in locked.wheels),
        conda=tuple(replace(package, url="https://elsewhere.example/y") for package in locked.conda),
        notes=("a note",),
    )
    assert moved.digest == locked.digest
    for changed in (
        replace(locked, conda=tuple(replace(each, build="other") for each in locked.conda)),
        replace(locked, wheels=tuple(replace(each, sha256="0" * 64) for each in locked.wheels)),
        replace(locked, platform=ARM64),
    ):
        assert changed.digest != locked.digest


def test_another_platform_is_locked_and_installed_without_running_it(tmp_path, model, channel, index) -> None:
    make_sdist(index.directory, "srconly")
    locked = solve(tmp_path, model, channel, index, pip=["needs-six"], platform=ARM64)
    assert {package.subdir for package in locked.conda} == {"linux-aarch64"}
    assert "# platform: linux-aarch64" in locked.conda_explicit()
    assert (install(locked, tmp_path) / "bin/needs-six").is_file()
    with pytest.raises(DbimageError) as caught:
        solve(tmp_path, model, channel, index, pip=["srconly"], platform=ARM64)
    assert caught.value.code == "wrong-platform"
    with pytest.raises(DbimageError) as caught:
        solve(tmp_path, model, channel, index, platform=Platform("windows", "amd64"))
    assert caught.value.code == "wrong-platform"


def test_a_wheel_of_the_model_needs_no_model_later(tmp_path, model, channel, index) -> None:
    make_wheel(model / "wheels", "mine")
    spec = make_spec(model, PYTHON, pip=("wheels/mine-1.0-py3-none-any.whl",))
    options = make_options(channel, index_url=index.url)
    cache = BuildCache(tmp_path / "cache")
    locked = lock_once(spec, options, make_solver(tmp_path / "cache"), cache, QUIET)
    assert (install(locked, tmp_path) / f"{SITE}/mine/__init__.py").is_file()
    before = len(index.requests)
    for path in (tmp_path / "cache/wheels").iterdir():
        (path / "mine-1.0-py3-none-any.whl").unlink()
    assert lock_once(spec, options, make_solver(tmp_path / "cache"), cache, QUIET) == locked
    assert len(index.requests) == before
    install(locked, tmp_path, name="second", offline=True)


def test_a_lock_is_solved_once_until_its_inputs_change(tmp_path, model, channel, index) -> None:
    cache = BuildCache(tmp_path / "cache")
    solver = make_solver(tmp_path / "cache")
    options = make_options(channel, index_url=index.url)
    spec = make_spec(model, PYTHON, pip=("six<2",))
    first = lock_once(spec, options, solver, cache, QUIET)
    asked = len(index.requests)
    assert lock_once(spec, options, solver, cache, QUIET) == first
    assert len(index.requests) == asked
    changed = lock_once(
        replace(spec, pip=make_spec(model, PYTHON, pip=("six",)).pip), options, solver, cache, QUIET
    )
    assert [wheel.version for wheel in changed.wheels] == ["2.0"]


def test_a_record_of_another_version_is_not_read() -> None:
    with pytest.raises(ValueError, match="a lock record of version 9"):
        LockedEnv.from_record({"version": 9})
    with pytest.raises(ValueError, match="not a lock record"):
        LockedEnv.from_record({"version": 1})


def test_the_cutoff_is_the_end_of_the_day_of_logging_in_utc() -> None:
    options = make_options("file:///nowhere")
    zone = timezone(timedelta(hours=-8))
    spec = make_spec(Path("m"), PYTHON, logged_at=datetime(2021, 1, 20, 20, 0, tzinfo=zone))
    assert cutoff(spec, options) == datetime(2021, 1, 22, tzinfo=timezone.utc)
    assert cutoff(make_spec(Path("m"), PYTHON), options) is None
    asked = datetime(2022, 5, 5, 5, tzinfo=zone)
    assert cutoff(spec, replace(options, exclude_newer=asked)) == asked


@pytest.mark.slow
def test_a_wheel_that_was_built_is_built_again_where_it_is_lost(tmp_path, model, channel, index) -> None:
    make_sdist(index.directory, "srconly")
    spec = make_spec(model, PYTHON, pip=("srconly",))
    options = make_options(channel, extra_index_urls=(index.url,))
    locked = lock(spec, options, make_solver(tmp_path / "cache"), QUIET)
    (wheel,) = locked.wheels
    assert str(wheel.built_from) == "srconly-1.0.tar.gz"
    assert (install(locked, tmp_path, cache="other cache") / f"{SITE}/srconly.py").is_file()
    wrong = replace(locked, wheels=(replace(wheel, sha256="0" * 64),))
    with pytest.raises(DbimageError) as caught:
        install(wrong, tmp_path, name="second")
    assert caught.value.code == "digest-mismatch"
