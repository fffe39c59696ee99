"""The environment of a golden base is read from the base itself, and a damaged one is told of."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_base_record import RECORD

from mlflow_dbimage.base_environment import INVENTORY_PATH, BaseEnvironment, file_states, read, states_in_layers
from mlflow_dbimage.build_receipt import LayerRecord
from mlflow_dbimage.errors import DbimageError, InputError
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.lock_files import wheel_record
from mlflow_dbimage.locking.locked_packages import CondaPackage, LockedWheel, WheelSource
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.rootfs import image_of_layer
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, file_entry, sorted_with_parents
from mlflow_dbimage.packed_env import PackedDistribution, PackedEnv

LINUX = Platform("linux", "amd64")
PREFIX = "/opt/dbimage/env"
FILE = file_entry("opt/dbimage/env/bin/tool", b"#!/bin/sh\n", 0o755)
LINK = TarEntry(path="opt/dbimage/env/bin/alias", kind=EntryKind.SYMLINK, mode=0o777, link="tool")
ENV = PackedEnv(
    prefix=PREFIX,
    distributions=(PackedDistribution(name="tool", version="1", manager="conda", entries=(FILE, LINK)),),
)
BASE = BaseEnvironment(
    prefix=PREFIX,
    locked=LockedEnv(platform=LINUX, python="3.11.7", conda=()),
    bytecode="all",
    files=file_states(ENV),
)


def base_image(folder: Path, entry: TarEntry, *, named: bool = True) -> Image:
    """An image with one layer of a system and one of an inventory."""
    folder.mkdir(exist_ok=True)
    system = as_layer(write_layer(sorted_with_parents([FILE], {}), folder, Compression.GZIP))
    inventory = as_layer(write_layer(sorted_with_parents([entry], {}), folder, Compression.GZIP))
    layer = LayerRecord(
        kind="inventory" if named else "environment",
        digest=str(inventory.descriptor.digest),
        diff_id=str(inventory.diff_id),
        size=inventory.descriptor.size,
        contents=(),
    )
    labels = dataclasses.replace(RECORD, layers=(layer,)).to_labels()
    image = image_of_layer(
        system.descriptor, system.diff_id, lambda digest: (folder / digest.hex).open("rb"), LINUX
    )
    return append(image, [Addition(layer=inventory, created_by="a test")], RunConfig(labels=labels))


def test_states_read_from_layers_are_those_of_the_files(tmp_path: Path) -> None:
    other = file_entry("opt/dbimage/lock/pylock.toml", b"", 0o644)
    lower = as_layer(write_layer(sorted_with_parents([FILE, other], {}), tmp_path, Compression.GZIP))
    upper = as_layer(write_layer(sorted_with_parents([LINK], {}), tmp_path, Compression.GZIP))
    assert states_in_layers([lower, upper], PREFIX) == BASE.files


def test_a_damaged_layer_has_no_states(tmp_path: Path) -> None:
    layer = as_layer(write_layer(sorted_with_parents([FILE], {}), tmp_path, Compression.GZIP))
    with layer.open() as stream:
        cut = stream.read()[:40]
    with pytest.raises(InputError) as caught:
        states_in_layers([dataclasses.replace(layer, open=lambda: io.BytesIO(cut))], PREFIX)
    assert caught.value.code == "base-invalid"


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = read(base_image(tmp_path, BASE.to_entry()))
    assert found == BASE
    assert found is not None
    kind, mode, digest = found.files["opt/dbimage/env/bin/tool"]
    assert (kind, mode, len(digest)) == ("file", 0o755, 64)
    assert found.files["opt/dbimage/env/bin/alias"] == ("link", 0o777, "tool")


def found_on(mirror: str) -> BaseEnvironment:
    """The same base, whose packages were found on one of several mirrors."""
    python = CondaPackage(
        name="python",
        version="3.11.7",
        build="h1_0",
        build_number=0,
        subdir="linux-64",
        file_name="python-3.11.7-h1_0.conda",
        sha256="1" * 64,
        size=1,
        channel="conda-forge",
        canonical_url="https://conda.anaconda.org/conda-forge/linux-64/python-3.11.7-h1_0.conda",
        url=f"{mirror}/linux-64/python-3.11.7-h1_0.conda",
    )
    wheel = LockedWheel(name="small", version="1", file_name="small-1-py3-none-any.whl", sha256="2" * 64, size=2)
    source = WheelSource(kind="sdist", location=f"{mirror}/built-1.tar.gz", sha256="3" * 64)
    wheels = (
        replace(wheel, name="built", file_name="built-1-py3-none-any.whl", built_from=source),
        replace(wheel, url=f"{mirror}/small-1-py3-none-any.whl"),
    )
    return replace(BASE, locked=replace(BASE.locked, conda=(python,), wheels=wheels))


def test_the_mirror_that_packages_were_found_on_is_not_in_it(tmp_path: Path) -> None:
    here, there = found_on("https://one.example/x"), found_on("http://two.example")
    bytes_of = [each.content().read() for each in (here.to_entry(), there.to_entry()) if each.content]
    assert bytes_of[0] == bytes_of[1]
    assert b"one.example" not in bytes_of[0]
    found = read(base_image(tmp_path, here.to_entry()))
    assert found is not None
    assert found.digest == here.digest
    assert [each.url for each in found.locked.conda] == [here.locked.conda[0].canonical_url]
    built, small = found.locked.wheels
    assert (small.url, built.built_from and built.built_from.location) == (None, "built-1.tar.gz")
    assert [each.has_place for each in (*found.locked.wheels, *here.locked.wheels)] == [False, False, True, True]


def test_only_the_inventorys_layer_is_opened(tmp_path: Path) -> None:
    image = base_image(tmp_path, BASE.to_entry())
    (tmp_path / image.layers[0].descriptor.digest.hex).unlink()
    assert read(image) == BASE


def test_a_plain_base_has_none(tmp_path: Path) -> None:
    image = base_image(tmp_path, BASE.to_entry())
    assert read(append(image, [], RunConfig(labels={"dev.dbimage.base": ""}))) is None


def damaged(**changes: object) -> TarEntry:
    content = BASE.to_entry().content
    assert content is not None
    data = {**json.loads(content().read()), **changes}
    return file_entry(INVENTORY_PATH, json.dumps(data).encode(), 0o644)


HASH = "1" * 64
HOSTILE = wheel_record(
    LockedWheel(name="six", version="1", file_name="victim-1-py3-none-any.whl", sha256="../..", size=1)
)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (damaged(version=9), "form 9"),
        (damaged(lock={}), "lock record"),
        (damaged(files={"/etc/passwd": ["file", 420, HASH]}), "leaves the root"),
        (damaged(files={"a/../b": ["file", 420, HASH]}), "leaves the root"),
        (damaged(files={"a": ["device", 420, HASH]}), "has no state"),
        (damaged(files={"etc/passwd": ["file", 420, HASH]}), "is not of the environment"),
        (damaged(files={"opt/dbimage/env/./a": ["file", 420, HASH]}), "not written plainly"),
        (damaged(files={"opt/dbimage/env/a": ["file", 420, "../../victim"]}), "has no state"),
        (damaged(files={"opt/dbimage/env/a": ["file", 0o10000, HASH]}), "has no state"),
        (damaged(files={"opt/dbimage/env/a": ["file", True, HASH]}), "has no state"),
        (damaged(files={"opt/dbimage/env/a": ["link", 420, ""]}), "has no state"),
        (damaged(files={"opt/dbimage/env/a": 7}), "no inventory"),
        (damaged(files=[]), "no inventory"),
        (damaged(prefix="opt/env"), "no environment can be at 'opt/env'"),
        (damaged(prefix="/opt/../env"), "no environment can be at"),
        (damaged(prefix=["/opt/env"]), "no environment can be at"),
        (damaged(bytecode="some"), "no kind of byte code"),
        (damaged(lock={**BASE.locked.to_record(), "platform": 7}), "lock record"),
        (damaged(lock={**BASE.locked.to_record(), "wheels": [HOSTILE]}), "is no sha256"),
        (file_entry(INVENTORY_PATH, b"[" * 100_000, 0o644), "nested too deeply"),
        (file_entry(INVENTORY_PATH, b"{", 0o644), "cannot be read"),
        (file_entry("elsewhere", b"{}", 0o644), "cannot be read"),
    ],
)
def test_a_damaged_inventory_is_told_of(tmp_path: Path, entry: TarEntry, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(base_image(tmp_path, entry))
    assert caught.value.code == "base-invalid"


def test_a_base_whose_inventory_is_gone_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the inventory"):
        read(base_image(tmp_path, BASE.to_entry(), named=False))


def test_another_layer_in_its_place_is_refused(tmp_path: Path) -> None:
    image = base_image(tmp_path, BASE.to_entry())
    other = base_image(tmp_path / "other", damaged(bytecode="none"))
    blob = tmp_path / image.layers[1].descriptor.digest.hex
    blob.write_bytes((tmp_path / "other" / other.layers[1].descriptor.digest.hex).read_bytes())
    with pytest.raises(DbimageError, match="diff ID"):
        read(image)
