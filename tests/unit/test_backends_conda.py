from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from mlflow_dbimage.backends.conda import RattlerConda
from mlflow_dbimage.errors import DbimageError, InputError
from mlflow_dbimage.locking.environment_solver import CondaRequest
from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.progress import SilentProgress
from services.http_server import served_folder
from solving import lines
from toy_channel import ToyPackage, distribution_files, make_toy_channel, toy_python

QUIET = SilentProgress()
LATER = 1700000000000

PACKAGES = [
    toy_python("3.11.7"),
    toy_python("3.11.9"),
    ToyPackage(name="base", files={"share/x": b"base", "share/base": b""}),
    ToyPackage(name="dependent", depends=["base"], files={"share/x": b"dependent", "share/mine": b""}),
    ToyPackage(name="needs-new-glibc", depends=["__glibc >=2.40"]),
    ToyPackage(name="late", timestamp=LATER),
    ToyPackage(name="aged", version="1.0"),
    ToyPackage(name="aged", version="2.0", timestamp=LATER),
    ToyPackage(name="six", version="1.16.0", files=distribution_files("six", "1.16.0", "3.11")),
]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("channels") / "conda-forge"
    make_toy_channel(directory, PACKAGES)
    return directory


def request(url: str, *texts: str, **changes: object) -> CondaRequest:
    asked = CondaRequest(
        python="3.11.7",
        requirements=lines(*texts),
        channels=("conda-forge",),
        channel_map={"conda-forge": url},
        platform="linux-64",
        glibc="2.36",
        exclude_newer=None,
        offline=False,
    )
    return replace(asked, **changes)  # type: ignore[arg-type]  # values of a test's choice


@pytest.fixture
def conda(tmp_path: Path) -> RattlerConda:
    return RattlerConda(tmp_path / "cache")


def named(packages: tuple[CondaPackage, ...]) -> dict[str, str]:
    return {package.name: package.version for package in packages}


def test_packages_have_the_channels_own_url_and_where_they_were_found(conda: RattlerConda, channel: Path) -> None:
    solution = conda.solve(request(channel.as_uri(), "dependent"))
    assert named(solution.packages) == {"python": "3.11.7", "base": "1.0", "dependent": "1.0"}
    assert solution.notes == ()
    package = next(each for each in solution.packages if each.name == "base")
    assert package.canonical_url == "https://conda.anaconda.org/conda-forge/linux-64/base-1.0-0.tar.bz2"
    assert package.url == f"{channel.as_uri()}/linux-64/base-1.0-0.tar.bz2"
    assert package.channel == "conda-forge"
    assert not {"url", "channel", "indexed_timestamp", "sha256"} & package.metadata.keys()


def test_a_python_that_is_gone_is_replaced_by_its_minor_with_a_note(conda: RattlerConda, channel: Path) -> None:
    solution = conda.solve(request(channel.as_uri(), python="3.11.8"))
    assert named(solution.packages) == {"python": "3.11.9"}
    assert solution.notes == ("no channel fits Python 3.11.8; another 3.11 is taken",)


def test_nothing_newer_than_the_day_is_taken_while_that_can_be(conda: RattlerConda, channel: Path) -> None:
    day = datetime(2021, 1, 21, tzinfo=timezone.utc)
    assert named(conda.solve(request(channel.as_uri(), "aged", exclude_newer=day)).packages)["aged"] == "1.0"
    assert named(conda.solve(request(channel.as_uri(), "aged")).packages)["aged"] == "2.0"
    solution = conda.solve(request(channel.as_uri(), "late", exclude_newer=day))
    assert named(solution.packages)["late"] == "1.0"
    assert solution.notes == ("conda packages are solved as of today: none fit as of 2021-01-21",)


@pytest.mark.parametrize("day", [None, datetime(2021, 1, 21, tzinfo=timezone.utc)])
def test_the_first_channel_that_has_a_package_is_its_channel(
    conda: RattlerConda, channel: Path, tmp_path: Path, day: datetime | None
) -> None:
    other = make_toy_channel(tmp_path / "other", [ToyPackage(name="base", version="9.0")])
    first = {"conda-forge": channel.as_uri(), "other": other}
    asked = request("", "base", channel_map=first, exclude_newer=day)
    assert named(conda.solve(replace(asked, channels=("conda-forge", "other"))).packages)["base"] == "1.0"
    assert named(conda.solve(replace(asked, channels=("other", "conda-forge"))).packages)["base"] == "9.0"
    pinned = replace(asked, channels=("conda-forge", "other"), requirements=lines("other::base"))
    solved = next(each for each in conda.solve(pinned).packages if each.name == "base")
    assert (solved.version, solved.channel) == ("9.0", "other")


def test_a_line_may_name_its_channel_and_the_mirror_is_used(conda: RattlerConda, channel: Path) -> None:
    asked = request(channel.as_uri(), "conda-forge::base")
    assert "base" in named(conda.solve(asked).packages)


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("nosuch>=3", "package-not-found", "No candidates were found for nosuch >=3"),
        ("needs-new-glibc", "unsolvable", "__glibc >=2.40"),
        ("base >=2", "package-not-found", "base >=2"),
        ("base[build=", "model-environment-invalid", "base[build="),
    ],
)
def test_what_cannot_be_solved_says_why_and_which_line(
    conda: RattlerConda, channel: Path, line: str, code: str, told: str
) -> None:
    with pytest.raises(DbimageError) as caught:
        conda.solve(request(channel.as_uri(), "aged", line))
    assert caught.value.code == code
    assert told in caught.value.message
    assert f"conda.yaml: dependencies[1]: {line}".replace(": base[", ": `base[") in caught.value.message
    assert "dependencies[0]" not in caught.value.message
    assert len(caught.value.message.splitlines()) <= 16


@pytest.mark.parametrize("name", ["https://[::1", "own[nowhere]", "https://me:canary@host:99999/own"])
def test_a_channel_that_is_none_is_told(conda: RattlerConda, name: str) -> None:
    with pytest.raises(InputError, match="is no name or URL of a conda channel") as caught:
        conda.solve(request("unused", channels=(name,)))
    assert "canary" not in caught.value.message


def test_a_channel_that_cannot_be_read_is_named(conda: RattlerConda, tmp_path: Path) -> None:
    with pytest.raises(DbimageError) as caught:
        conda.solve(request((tmp_path / "nosuch").as_uri(), "base"))
    assert caught.value.code == "channel-failed"
    assert "nosuch" in caught.value.message


def test_a_path_of_two_packages_has_one_owner_on_disk_and_in_the_records(
    conda: RattlerConda, channel: Path, tmp_path: Path
) -> None:
    packages = conda.solve(request(channel.as_uri(), "dependent")).packages
    prefix = tmp_path / "env"
    decisions = conda.install(packages, prefix, "linux-64", offline=False, progress=QUIET)
    assert [(each.distribution, each.owner) for each in decisions] == [("share/x", "dependent")]
    assert (prefix / "share/x").read_bytes() == b"dependent"
    records = [json.loads(path.read_bytes()) for path in (prefix / "conda-meta").glob("*.json")]
    listed = sorted(file for record in records for file in record["files"])
    assert len(listed) == len(set(listed))
    here = sorted(path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if path.is_file())
    assert listed == [path for path in here if not path.startswith("conda-meta/")]


def test_a_lock_installs_without_solving_and_without_the_network(
    channel: Path, conda: RattlerConda, tmp_path: Path
) -> None:
    packages = conda.solve(request(channel.as_uri(), "six")).packages
    conda.install(packages, tmp_path / "one", "linux-64", offline=False, progress=QUIET)
    conda.install(packages, tmp_path / "two", "linux-64", offline=True, progress=QUIET)
    assert (tmp_path / "two/lib/python3.11/site-packages/six/__init__.py").is_file()
    record = json.loads((tmp_path / "two/conda-meta/six-1.16.0-0.json").read_bytes())
    assert record["timestamp"] == 1577836800000
    assert "indexed_timestamp" not in record


def test_a_local_archive_that_changed_is_refused(channel: Path, tmp_path: Path) -> None:
    copy = tmp_path / "conda-forge"
    shutil.copytree(channel, copy)
    conda = RattlerConda(tmp_path / "cache")
    packages = conda.solve(request(copy.as_uri(), "base")).packages
    (copy / "linux-64/base-1.0-0.tar.bz2").write_bytes(b"other")
    with pytest.raises(DbimageError) as caught:
        conda.install(packages, tmp_path / "env", "linux-64", offline=False, progress=QUIET)
    assert caught.value.code == "digest-mismatch"
    assert not (tmp_path / "env").exists()


def test_a_damaged_cache_entry_is_fetched_again(channel: Path, conda: RattlerConda, tmp_path: Path) -> None:
    packages = conda.solve(request(channel.as_uri(), "base")).packages
    conda.install(packages, tmp_path / "one", "linux-64", offline=False, progress=QUIET)
    cached = tmp_path / "cache/pkgs/base-1.0-0/share/x"
    cached.unlink()
    cached.write_bytes(b"evil")
    conda.install(packages, tmp_path / "two", "linux-64", offline=False, progress=QUIET)
    assert (tmp_path / "two/share/x").read_bytes() == b"base"


@pytest.fixture
def closed_channel(channel: Path) -> Iterator[str]:
    with served_folder(channel, "reader:s3cret") as closed:
        yield f"127.0.0.1:{closed.port}"


def test_the_password_of_a_mirror_is_used_and_never_kept(closed_channel: str, tmp_path: Path) -> None:
    url = f"http://reader:s3cret@{closed_channel}"
    conda = RattlerConda(tmp_path / "cache", {"conda-forge": url})
    packages = conda.solve(request(url, "base")).packages
    assert all("s3cret" not in repr(package) for package in packages)
    conda.install(packages, tmp_path / "env", "linux-64", offline=False, progress=QUIET)
    assert (tmp_path / "env/share/base").is_file()
    asked = request(f"http://reader:wrongsecret@{closed_channel}", "base")
    with pytest.raises(DbimageError) as caught:
        RattlerConda(tmp_path / "other").solve(asked)
    assert caught.value.code == "channel-failed"
    assert "wrongsecret" not in str(caught.value)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert kept == []


def test_offline_with_warm_caches_works_and_with_cold_ones_says_what_is_missing(
    closed_channel: str, tmp_path: Path
) -> None:
    url = f"http://reader:s3cret@{closed_channel}"
    conda = RattlerConda(tmp_path / "cache", {"conda-forge": url})
    online = conda.solve(request(url, "base"))
    conda.install(online.packages, tmp_path / "one", "linux-64", offline=False, progress=QUIET)
    offline = conda.solve(request(url, "base", offline=True))
    assert offline == online
    conda.install(offline.packages, tmp_path / "two", "linux-64", offline=True, progress=QUIET)
    cold = RattlerConda(tmp_path / "cold")
    with pytest.raises(DbimageError) as caught:
        cold.solve(request(url, "base", offline=True))
    assert caught.value.code == "offline"
    with pytest.raises(DbimageError) as caught:
        cold.install(online.packages, tmp_path / "three", "linux-64", offline=True, progress=QUIET)
    assert caught.value.code == "offline"
    assert "base-1.0-0.tar.bz2" in caught.value.message
