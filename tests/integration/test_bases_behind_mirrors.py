"""One golden base from two sites, each behind its own mirrors; and images on the base of the other site."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, error_of, greeting_wheel, light_model, tiny_base
from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.oci.compression import open_decompressed
from mlflow_dbimage.oci.layout import Layout
from services.http_server import served_folder
from toy_wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.channel]

PASSWORD = "canary-mirror-77e0"
HERE, THERE = "canary-of-here", "canary-of-there"
LIST = f"""\
name: Ours
channels: [conda-forge]
dependencies:
- python={platform.python_version()}
- pip:
  - greeting==1.0
  - small==1.0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    tiny_base(folder / "system" / "base.tar")
    (folder / "ours.yml").write_text(LIST)
    return folder


@pytest.fixture(scope="module")
def wheels(place: Path) -> Path:
    folder = place / "wheels"
    greeting_wheel(folder)
    for version in ("1.0", "2.0"):
        make_wheel(folder, "small", version)
    return folder


@pytest.fixture(scope="module")
def mirrored_channel(conda_channel, place: Path) -> Iterator[str]:
    """The channel again, behind http and at a path of its own."""
    (place / "web").mkdir()
    (place / "web" / THERE).symlink_to(conda_channel.directory, target_is_directory=True)
    with served_folder(place / "web") as web:
        yield f"{web.url}/{THERE}"


@pytest.fixture(scope="module")
def index_here(wheels: Path) -> Iterator[PackageIndex]:
    with serve(PackageIndex(directory=wheels)) as index:
        yield index


@pytest.fixture(scope="module")
def here(conda_channel, index_here: PackageIndex, place: Path) -> Bench:
    """A site with mirrors of its own: the channel in a folder, an index for everybody."""
    channel = place / HERE
    channel.symlink_to(conda_channel.directory, target_is_directory=True)
    return site(place / "here", channel.as_uri(), index_here.url)


@pytest.fixture(scope="module")
def index_there(wheels: Path) -> Iterator[PackageIndex]:
    with serve(PackageIndex(directory=wheels, password=PASSWORD)) as index:
        yield index


@pytest.fixture(scope="module")
def there(mirrored_channel: str, index_there: PackageIndex, place: Path) -> Bench:
    """Another site: the channel behind http, an index with a password."""
    return site(place / "there", mirrored_channel, index_there.url_with_password)


def site(folder: Path, channel: str, index: str) -> Bench:
    settings = {"DBIMAGE_CHANNEL_MAP": f"conda-forge={channel}", "DBIMAGE_INDEX_URL": index}
    return Bench(folder=folder, model=light_model(folder / "model"), cache=folder / "cache", settings=settings)


def golden(bench: Bench, place: Path) -> dict[str, Any]:
    system = f"rootfs:{place / 'system' / 'base.tar'}"
    done = bench.run("base", "build", "--from-env", place / "ours.yml", "--system", system, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def bases(here: Bench, there: Bench, place: Path) -> list[dict[str, Any]]:
    return [golden(bench, place) for bench in (here, there)]


def over(bench: Bench, base: dict[str, Any], *lines: str, **keys: str) -> dict[str, Any]:
    """Build a model with further pip lines on a base, with nothing warm but what the bench has."""
    model = light_model(bench.folder / "over", *lines)
    options = [word for key, value in keys.items() for word in ("-C", f"{key}={value}")]
    done = bench.run("build", model, "--name", "over", "--json", "-C", f"base_image={base['reference']}", *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_two_mirrors_give_one_base(bases: list[dict[str, Any]]) -> None:
    first, second = bases
    assert second["record"] == first["record"]
    assert second["digest"] == first["digest"]


def test_nothing_of_a_mirror_is_in_a_base(
    here: Bench, there: Bench, bases: list[dict[str, Any]], index_there: PackageIndex
) -> None:
    canaries = [each.encode() for each in (PASSWORD, HERE, THERE, f"127.0.0.1:{index_there.port}")]
    for bench in (here, there):
        image = Layout(bench.target).image("base-ours")
        record = BaseRecord.from_labels(image.labels)
        assert record is not None
        contents = [json.dumps([dict(image.labels), dict(image.environment)]).encode()]
        for layer in image.layers[record.system_layers :]:
            with layer.open() as blob:
                contents.append(open_decompressed(blob, layer.descriptor.media_type).read())
        assert len(contents) > 2
        assert [canary for canary in canaries for each in contents if canary in each] == []
        labels, inventory = contents[0], contents[-1]
        assert b'"wheels":[{' in inventory
        assert b"127.0.0.1" not in labels + inventory, "as it is in modules of Python"
        assert b"file:" not in labels + inventory


def test_an_overlay_is_built_behind_another_mirror_than_its_base(
    here: Bench,
    there: Bench,
    bases: list[dict[str, Any]],
    index_here: PackageIndex,
    index_there: PackageIndex,
    tmp_path: Path,
) -> None:
    """On a machine that has nothing; the base's own site is not asked."""
    first, _ = bases
    fresh = replace(there, folder=tmp_path / "fresh", cache=tmp_path / "cache")
    index_here.requests.clear()
    index_there.requests.clear()
    receipt = over(fresh, first, "small==2.0", env_layout="overlay")
    assert receipt["record"]["env_layout"] == "overlay"
    assert "small 2.0" in [each for layer in receipt["record"]["layers"] for each in layer["contents"]]
    assert "/files/greeting-1.0-py3-none-any.whl" in index_there.requests, "looked up, and taken from there"
    assert index_here.requests == []
    assert over(here, first, "small==2.0", env_layout="overlay")["digest"] == receipt["digest"]


def test_a_cache_that_lost_its_wheels_finds_them_again(
    here: Bench, bases: list[dict[str, Any]], index_here: PackageIndex, tmp_path: Path
) -> None:
    """The lock was remembered when they were there, so that it does not say where they can be had."""
    receipt = over(replace(here, folder=tmp_path / "before"), bases[0], "small", env_layout="overlay")
    for part in ("wheels", "blobs"):
        shutil.rmtree(here.cache / part)
    index_here.requests.clear()
    again = over(replace(here, folder=tmp_path / "after"), bases[0], "small", env_layout="overlay")
    assert again["digest"] == receipt["digest"]
    assert "/files/greeting-1.0-py3-none-any.whl" in index_here.requests


def test_an_index_that_lacks_what_the_base_has_is_told(
    there: Bench, bases: list[dict[str, Any]], wheels: Path, tmp_path: Path
) -> None:
    poor = tmp_path / "poor"
    shutil.copytree(wheels, poor)
    (poor / "small-1.0-py3-none-any.whl").unlink()
    make_wheel(poor, "small", "1.0", {"small.py": b"x = 'built again'\n"})
    with serve(PackageIndex(directory=poor)) as index:
        settings = {**there.settings, "DBIMAGE_INDEX_URL": index.url}
        bench = replace(there, folder=tmp_path / "site", cache=tmp_path / "cache", settings=settings)
        options = ("--json", "-C", f"base_image={bases[0]['reference']}")
        code, error, message, hint = error_of(bench.run("plan", bench.model, *options, "-C", "env_layout=overlay"))
        assert (code, error) == (4, "package-not-found")
        assert "\n  small 1.0: the index has no `small-1.0-py3-none-any.whl` with sha256 " in message
        assert "build the base again behind this one" in hint
        planned = bench.run("plan", bench.model, *options)
        assert planned.returncode == 0, planned.stderr
        assert json.loads(planned.stdout)["environment"]["kind"] == "isolated"
        assert "an overlay failed" in planned.stdout
