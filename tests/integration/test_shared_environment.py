"""A machine with empty caches, and a registry that knows the environment: none of it is fetched, made or sent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, greeting_wheel, light_model, tiny_base
from mlflow_dbimage.destinations.record_shelf import RegistryShelf
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.rootfs import rootfs_image
from oci_samples import small_image
from services.http_server import ServedFolder, served_folder
from services.registry_server import RunningRegistry, registry_server

pytestmark = [pytest.mark.slow, pytest.mark.channel, pytest.mark.registry]

LINUX = Platform("linux", "amd64")
SMALL = 64 << 10
READ = re.compile(r'"GET /v2/(\S+)/blobs/\S+ HTTP/1.1" 200 (\d+)')
SENT = re.compile(r'"PATCH /v2/(\S+)/blobs/')


@dataclass(frozen=True, kw_only=True)
class Site:
    """A registry with a base, and what environments are made from, which counts what it is asked."""

    running: RunningRegistry
    index: PackageIndex
    channel: ServedFolder
    folder: Path
    settings: dict[str, str]

    def machine(self, name: str, *, version: int, **settings: str) -> Bench:
        """A machine whose caches are as another of that name left them, with a version of the model."""
        bench = Bench(
            folder=self.folder / name,
            model=self.folder / f"model-{version}",
            cache=self.folder / name / "cache",
            settings={**self.settings, **settings},
        )
        if not bench.model.is_dir():
            light_model(bench.model)
            (bench.model / "weights.bin").write_bytes(bytes([version]) * 10_000)
        return bench

    def asked(self) -> list[str]:
        """What channel and index were asked for."""
        return [*self.channel.served, *self.index.requests]

    def repository(self, name: str) -> Repository:
        return Repository(Registry(self.running.host), name)

    def said(self) -> str:
        return self.running.log.read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, conda_channel) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    greeting_wheel(folder / "wheels")
    index = PackageIndex(directory=folder / "wheels")
    with (
        registry_server(folder / "registry") as running,
        serve(index),
        served_folder(Path(conda_channel.url.removeprefix("file://"))) as channel,
    ):
        push_base(running, folder)
        settings = {
            "DBIMAGE_TARGET": f"//{running.host}/team",
            "DBIMAGE_CHANNEL_MAP": f"conda-forge={channel.url}",
            "DBIMAGE_BASE_IMAGE": f"//{running.host}/bases/tiny:1",
            "DBIMAGE_INDEX_URL": index.url,
            "DBIMAGE_VERIFY": "static",
        }
        yield Site(running=running, index=index, channel=channel, folder=folder, settings=settings)


def push_base(running: RunningRegistry, folder: Path) -> None:
    """Push a base that has a glibc, and a shell for the scoring program."""
    rootfs = tiny_base(folder / "base" / "base.tar")
    with tarfile.open(rootfs, "a") as archive:
        shell = tarfile.TarInfo("bin/sh")
        shell.mode = 0o755
        archive.addfile(shell)
    image = rootfs_image(rootfs, LINUX, folder / "base", Compression.GZIP)
    repository = Repository(Registry(running.host), "bases/tiny")
    repository.push(image)
    repository.put_manifest("1", image.manifest, image.media_type)


def large_reads(said: str) -> list[str]:
    """What was read of the registry that is no record, config or other document."""
    return [name for name, size in READ.findall(said) if int(size) > SMALL]


def notes_of(receipt: dict[str, object]) -> str:
    notes = receipt["notes"]
    assert isinstance(notes, list)
    return "\n".join(notes)


@pytest.fixture(scope="module")
def first(site: Site) -> dict[str, object]:
    """What is said of the first image, which was made on the machine `a`."""
    return site.machine("a", version=1).receipt("churn")


def test_a_new_machine_takes_an_environment_as_the_registry_has_it(site: Site, first: dict[str, object]) -> None:
    assert first["environment_reused"] is False
    assert "another machine" not in notes_of(first)
    asked, said = site.asked(), len(site.said())

    new = site.machine("b", version=2)
    second = new.receipt("churn", "--mode", "update")
    assert second["environment_reused"] is True
    assert site.asked() == asked
    assert second["sent_size"] <= 10_000 + SMALL
    assert large_reads(site.said()[said:]) == []
    assert "on the machine that made its environment's layers" in notes_of(second), "nor what a model said there"
    assert "the lock and the environment's layers: as another machine left it in" in notes_of(second)
    for part in ("conda/pkgs", "wheels", "uv"):
        assert not [path for path in (new.cache / part).rglob("*") if path.is_file()], part
    assert not list((new.cache / "records" / "environments").glob("*")), "somebody else's word is not kept"

    # A name that the registry has not seen: the layers are mounted.
    other = new.receipt("team.other")
    assert other["digest"] == second["digest"]
    assert other["sent_size"] <= 10_000 + SMALL
    assert large_reads(site.said()[said:]) == []

    again = site.machine("a", version=2).receipt("churn", "--mode", "update")
    assert again["digest"] == second["digest"]
    assert "another machine" not in notes_of(again)
    listed = json.loads(new.run("list", "--json").stdout)
    assert "dbimage-cache" not in [each["name"] for each in listed]


def test_what_is_broken_or_gone_is_made_and_left_again(site: Site, first: dict[str, object]) -> None:
    cache = site.repository("team/dbimage-cache")
    records = {tag.split("-")[1]: tag for tag in cache.tags()}
    assert sorted(records) == ["base", "environment", "lock"]
    before = {kind: cache.resolve(tag)[0].digest for kind, tag in records.items()}
    descriptor, manifest = cache.resolve(records["base"])
    cache.put_manifest(records["lock"], manifest, descriptor.media_type)
    store = site.folder / "registry/data/docker/registry/v2/repositories/team/dbimage-cache/_layers/sha256"
    layers = [
        each
        for each in json.loads(cache.resolve(records["environment"])[1])["layers"]
        if "tar" in each["mediaType"]
    ]
    assert layers
    for layer in layers:
        shutil.rmtree(store / layer["digest"].partition(":")[2])

    receipt = site.machine("c", version=1).receipt("other")
    assert receipt["digest"] == first["digest"]
    assert receipt["environment_reused"] is False
    assert "left it" not in notes_of(receipt).replace("what the base holds: as another machine left it", "")
    assert {kind: cache.resolve(tag)[0].digest for kind, tag in records.items()} == before
    assert all((store / layer["digest"].partition(":")[2]).is_dir() for layer in layers)


def test_a_registry_that_collects_garbage_keeps_what_a_record_promises(site: Site, tmp_path: Path) -> None:
    image = small_image(tmp_path, layers=2)
    repository = site.repository("team/passing")
    repository.push(image)
    layers = [layer.descriptor for layer in image.layers]
    shelf = RegistryShelf(Registry(site.running.host), "team", "{prefix}/{name}")
    assert shelf.write("environment-1", b"{}", layers, "passing")
    repository.put_manifest("v1", image.manifest, image.media_type)
    repository.delete_tag("v1")
    command = ["docker-registry", "garbage-collect", "--delete-untagged", site.folder / "registry" / "config.yml"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(InputError, match="does not exist"):
        repository.resolve(str(image.digest))
    assert shelf.read("environment-1") == b"{}"
    with shelf.open_blob(layers[0]) as stream:
        assert len(stream.read()) == layers[0].size
