"""A lock on a golden base: its packages stay unless the model, or what the model needs, is of another version."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from mlflow_dbimage.lock_changes import LockChanges, changes
from mlflow_dbimage.locked_env import LockedEnv, inputs_key, lock
from mlflow_dbimage.locking.locked_packages import CondaPackage, LockedWheel
from mlflow_dbimage.progress import SilentProgress
from solving import make_options, make_solver, make_spec
from toy_channel import ToyPackage, distribution_files, make_toy_channel, toy_python
from toy_wheels import make_wheel, wheel_name

QUIET = SilentProgress()
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
OLD_PYTHON, NEW_PYTHON = f"{MINOR}.1", f"{MINOR}.2"
THEN = datetime(2022, 1, 1, tzinfo=timezone.utc)
_LATER = 1672531200000  # 2023-01-01


def distribution(name: str, version: str, **more: object) -> ToyPackage:
    files = distribution_files(name, version, MINOR)
    return ToyPackage(name=name, version=version, files=files, **more)  # type: ignore[arg-type]


OF_THE_BASE = [
    toy_python(OLD_PYTHON),
    ToyPackage(name="libx", version="1.0", files={"lib/libx.so.1": b"1"}),
    ToyPackage(name="tool", version="1.0", depends=["libx <2"], files={"bin/tool": b"1"}),
    ToyPackage(name="open", version="1.0", depends=["libx", "missing"], files={"bin/open": b"1"}),
    distribution("six", "1.0"),
    distribution("dated", "1.0", timestamp=_LATER),
]
NEWER = [
    toy_python(NEW_PYTHON),
    ToyPackage(name="libx", version="2.0", files={"lib/libx.so.2": b"2"}),
    ToyPackage(name="needs-libx-2", depends=["libx >=2"]),
    ToyPackage(name="needs-libx", depends=["libx"]),
    distribution("six", "2.0"),
    distribution("dated", "0.5"),
    distribution("pip", "2.0"),
]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_toy_channel(tmp_path_factory.mktemp("channel"), [*OF_THE_BASE, *NEWER])


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    directory = tmp_path / "index"
    for version in ("1.0", "1.5", "2.0"):
        make_wheel(directory, "array", version)
    make_wheel(directory, "frame", "1.0", requires=["array<2"])
    make_wheel(directory, "frame", "2.0", requires=["array>=1"])
    make_wheel(directory, "plot", "1.0", requires=["array<2", "never-there"])
    make_wheel(directory, "plot", "2.0", requires=["array"])
    make_wheel(directory, "small", "1.0")
    make_wheel(directory, "small", "2.0")
    make_wheel(directory, "six", "2.0")
    make_wheel(directory, "pip", "1.0")
    times = {path.name: "2021-01-01T00:00:00Z" for path in directory.iterdir()}
    times |= {wheel_name(name, "1.0"): "2023-01-01T00:00:00Z" for name in ("array", "small")}
    times |= {wheel_name("array", "2.0"): "2023-01-01T00:00:00Z"}
    with serve(PackageIndex(directory, upload_times=times)) as served:
        yield served


def conda_package(channel: str, name: str, *, like: CondaPackage, depends: list[str]) -> CondaPackage:
    """The lock of a package that cannot be solved for: a runtime's list is not closed under its requirements."""
    archive = Path(channel.removeprefix("file://")) / "linux-64" / f"{name}-1.0-0.tar.bz2"
    return replace(
        like,
        name=name,
        file_name=archive.name,
        url=archive.as_uri(),
        canonical_url=like.canonical_url.replace(like.name, name),
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        size=archive.stat().st_size,
        metadata={**like.metadata, "depends": depends, "md5": None},
    )


def locked_wheel(index: PackageIndex, name: str, version: str = "1.0") -> LockedWheel:
    wheel = index.directory / wheel_name(name, version)
    return LockedWheel(
        name=name,
        version=version,
        file_name=wheel.name,
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        size=wheel.stat().st_size,
        url=f"http://127.0.0.1:{index.port}/files/{wheel.name}",
    )


class Site:
    """A solver with its caches, a channel and an index, and the golden base whose packages are kept."""

    def __init__(self, folder: Path, channel: str, index: PackageIndex) -> None:
        self.index = index
        self._folder, self._channel = folder, channel
        (folder / "model").mkdir()
        self._solver = make_solver(folder / "cache")
        whole = self.solve(conda=("tool", "six =1", "dated =1"))
        libx = next(each for each in whole.conda if each.name == "libx")
        conda = (*whole.conda, conda_package(channel, "open", like=libx, depends=["libx", "missing"]))
        self.base = replace(
            whole,
            conda=tuple(sorted(conda, key=lambda each: each.name)),
            wheels=tuple(locked_wheel(index, name) for name in ("array", "frame", "plot", "small")),
        )

    def solve(self, *, python: str = OLD_PYTHON, conda=(), pip=(), kept: LockedEnv | None = None, **spec):
        model = make_spec(self._folder / "model", python, conda=tuple(conda), pip=tuple(pip), **spec)
        return lock(model, self._options(kept), self._solver, QUIET)

    def over(self, **wishes) -> tuple[LockedEnv, LockChanges]:
        locked = self.solve(kept=self.base, **wishes)
        return locked, changes(self.base, locked)

    def key(self, kept: LockedEnv | None) -> str:
        model = make_spec(self._folder / "model", OLD_PYTHON)
        return inputs_key(model, self._options(kept), self._solver)

    def _options(self, kept: LockedEnv | None):
        wanted = None if kept is None else kept.as_kept()
        return make_options(self._channel, index_url=self.index.url, kept=wanted)


@pytest.fixture
def site(tmp_path: Path, channel: str, index: PackageIndex) -> Site:
    return Site(tmp_path, channel, index)


def changed(found: LockChanges) -> list[tuple[str, str, str]]:
    assert found.gone == ()
    return [(each.name, each.before, each.after) for each in found.changed]


def test_a_model_that_asks_for_nothing_else_has_the_bases_lock(site: Site) -> None:
    locked, _ = site.over(conda=("six", "libx"), pip=("frame", "small", "array"))
    assert locked.digest == site.base.digest
    assert locked.notes == ()


def test_what_the_model_pins_changes_and_nothing_else(site: Site) -> None:
    locked, found = site.over(conda=("needs-libx",), pip=("small==2.0", "frame"))
    assert changed(found) == [("small", "1.0", "2.0")]
    assert [each.name for each in found.added] == ["needs-libx"]
    assert {"open", "tool", "plot"} <= {each.name for each in (*locked.conda, *locked.wheels)}


def test_what_the_model_needs_is_forced_and_what_it_does_not_need_stays_with_a_note(site: Site) -> None:
    locked, found = site.over(conda=("needs-libx-2",), pip=("array==2.0", "frame"))
    assert changed(found) == [("array", "1.0", "2.0"), ("frame", "1.0", "2.0"), ("libx", "1.0", "2.0")]
    assert locked.notes == (
        "the base's tool 1.0 needs `libx <2`, and the model has 2.0: it stays as it is, and may not work",
        "the base's plot 1.0 needs `array<2`, and the model has 2.0: it stays as it is, and may not work",
    )


def test_the_bases_python_is_kept_where_its_minor_fits(site: Site) -> None:
    locked, found = site.over(python=NEW_PYTHON)
    assert locked.python == OLD_PYTHON
    assert changed(found) == []
    assert locked.notes == (f"the base's Python {OLD_PYTHON} is kept, where the model was made with {NEW_PYTHON}",)
    assert site.over(python=MINOR)[0].notes == (), "a model that names no patch misses none"


def test_a_python_that_the_model_cannot_have_is_another_one(site: Site) -> None:
    _, found = site.over(python=NEW_PYTHON, conda=(f"python >={NEW_PYTHON}",))
    assert changed(found) == [("python", OLD_PYTHON, NEW_PYTHON)]


def test_what_the_base_has_is_kept_though_it_is_younger_than_the_model(site: Site) -> None:
    locked, found = site.over(conda=("dated",), pip=("small", "frame"), logged_at=THEN)
    assert changed(found) == []
    alone = site.solve(conda=("dated",), pip=("small",), logged_at=THEN)
    assert {each.name: each.version for each in (*alone.conda, *alone.wheels)} == {
        "python": OLD_PYTHON,
        "dated": "0.5",
        "small": "2.0",
    }
    assert locked.digest != alone.digest


def test_what_must_be_another_version_is_taken_as_of_the_day_of_the_model(site: Site) -> None:
    _, found = site.over(pip=("array!=1.0",), logged_at=THEN)
    assert changed(found) == [("array", "1.0", "1.5")]


def test_a_wheel_takes_the_place_of_a_conda_package_of_the_base(site: Site) -> None:
    locked, found = site.over(pip=("six==2.0",))
    assert changed(found) == [("six", "1.0", "2.0")]
    assert "six" not in {each.name for each in locked.conda}
    assert [(each.distribution, each.owner) for each in locked.decisions] == [("six", "pip")]


def test_what_conda_packages_of_the_base_bring_need_be_on_no_index(site: Site) -> None:
    locked, found = site.over(pip=("dated==1.0", "frame"), logged_at=THEN)
    assert changed(found) == []
    assert [(each.distribution, each.owner) for each in locked.decisions] == [("dated", "conda")]


def test_a_conda_package_of_the_model_takes_the_place_of_a_wheel_of_the_base(site: Site) -> None:
    base = replace(
        site.base,
        conda=tuple(each for each in site.base.conda if each.name != "six"),
        wheels=(*site.base.wheels, site.solve(pip=("six==2.0",)).wheels[0]),
    )
    locked = site.solve(conda=("six =1",), kept=base)
    assert [each.name for each in locked.wheels] == ["array", "frame", "plot", "small"]
    assert changed(changes(base, locked)) == [("six", "2.0", "1.0")]


@pytest.mark.parametrize(("line", "of_conda"), [("pip", []), ("pip <=2", []), ("pip >=2", ["pip"])])
def test_the_bases_installers_meet_conda_requirements_for_theirs(
    site: Site, line: str, of_conda: list[str]
) -> None:
    base = replace(site.base, wheels=(*site.base.wheels, locked_wheel(site.index, "pip")))
    locked = site.solve(conda=(line,), kept=base)
    assert [each.name for each in locked.conda if each.name == "pip"] == of_conda
    assert [each.name for each in locked.wheels if each.name == "pip"] == ([] if of_conda else ["pip"])


def test_the_same_package_through_another_mirror_is_the_bases_own(site: Site) -> None:
    elsewhere = tuple(
        replace(
            each,
            url=f"https://gone.example/a/linux-64/{each.file_name}",
            canonical_url=f"https://x.example/b/linux-64/{each.file_name}",
        )
        for each in site.base.conda
    )
    base = replace(site.base, conda=elsewhere)
    locked = site.solve(conda=("libx",), kept=base)
    assert locked.channel_urls() == base.channel_urls(), "conda-meta has the URL: it must stay as it is"
    assert not any("gone.example" in each.url for each in locked.conda), "and is found where this site has it"


def test_what_no_channel_of_the_model_has_is_kept_too(site: Site, tmp_path: Path) -> None:
    other = make_toy_channel(tmp_path / "other", [toy_python(OLD_PYTHON), *NEWER[1:]])
    _, found = site.over(conda=("libx", "dated", "needs-libx"), channels=(other,))
    assert changed(found) == []
    assert [each.name for each in found.added] == ["needs-libx"]


def test_the_key_of_a_lock_changes_with_the_base(site: Site) -> None:
    other = replace(site.base, wheels=site.base.wheels[1:])
    assert len({site.key(kept) for kept in (None, site.base, other)}) == 3
    renamed = replace(site.base, notes=("a note",))
    assert site.key(renamed) == site.key(site.base)


def test_a_wheel_that_the_model_brings_replaces_the_bases_of_the_same_version(site: Site, tmp_path: Path) -> None:
    make_wheel(tmp_path / "model", "small", "1.0", {"small.py": b"of the model\n"})
    locked, found = site.over(pip=("./small-1.0-py3-none-any.whl", "frame"))
    assert changed(found) == [("small", "1.0 of pip", "1.0 of pip")]
    small = next(each for each in locked.wheels if each.name == "small")
    assert small.path == "small-1.0-py3-none-any.whl"
