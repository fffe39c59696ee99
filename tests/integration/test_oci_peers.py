"""Awkward trees and whiteouts as others read them: GNU tar, the codecs' own programs, umoci."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append
from mlflow_dbimage.oci.inventory import read_inventory
from mlflow_dbimage.oci.layer import WrittenLayer, as_layer, write_layer
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.rootfs import rootfs_image
from mlflow_dbimage.oci.tar import (
    EntryKind,
    TarEntry,
    directory_entry,
    file_entry,
    sorted_with_parents,
    symlink_entry,
    whiteouts,
)
from oci_samples import LINUX, noise

pytestmark = pytest.mark.peers

BOTH = pytest.mark.parametrize("compression", list(Compression))


def run(*command: str | Path) -> str:
    surroundings = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, check=True, capture_output=True, env=surroundings)
    return done.stdout.decode()


def awkward_tree() -> list[TarEntry]:
    """Paths and links that need every form of header."""
    deep = "/".join(["opt", *("d" * 60 for _ in range(8)), "file"])
    return sorted_with_parents(
        [
            file_entry("opt/short", b"short", 0o644),
            file_entry("opt/exactly/" + "n" * 88, b"100", 0o644),
            file_entry(f"opt/{'n' * 200}", b"long name", 0o755),
            file_entry(deep, b"long path", 0o600),
            file_entry("opt/größe/naïve-模型.bin", b"not ASCII", 0o644),
            file_entry("opt/ends in space ", b"", 0o644),
            symlink_entry("opt/link", "short"),
            symlink_entry("opt/far", "../" * 40 + "x" * 120),
            symlink_entry("opt/größe/ziel", "naïve-模型.bin"),
            directory_entry("opt/empty", 0o700),
        ],
        {},
    )


def image_of(first: WrittenLayer, directory: Path, *others: WrittenLayer) -> Image:
    """An image of written layers, the lowest first."""
    with tarfile.open(directory / "bottom.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("bottom"))
    base = rootfs_image(directory / "bottom.tar", LINUX, directory, Compression.GZIP)
    additions = [Addition(layer=as_layer(each), created_by="a test") for each in (first, *others)]
    return append(base, additions, RunConfig(environment={"A": "1"}, labels={"b": "2"}, user="1000"))


@BOTH
def test_gnu_tar_lists_every_path_link_and_mode(compression: Compression, tmp_path: Path) -> None:
    tree = awkward_tree()
    written = write_layer(tree, tmp_path, compression)
    flag = {Compression.GZIP: "--gzip", Compression.ZSTD: "--zstd"}[compression]
    listed = run("tar", "--list", flag, "--quoting-style=literal", "--file", written.path).splitlines()
    assert [path.rstrip("/") for path in listed] == [entry.path for entry in tree]
    (tmp_path / "out").mkdir()
    run("tar", "--extract", flag, "--same-permissions", "--file", written.path, "--directory", tmp_path / "out")
    for entry in tree:
        path = tmp_path / "out" / entry.path
        assert path.is_symlink() == bool(entry.link)
        if entry.link:
            assert os.readlink(path) == entry.link
            continue
        assert path.stat().st_mode & 0o7777 == entry.mode
        assert path.stat().st_mtime == 315532801
        assert entry.content is None or path.read_bytes() == entry.content().read()


@BOTH
def test_its_own_program_expands_a_blob_to_its_diff_id(compression: Compression, tmp_path: Path) -> None:
    written = write_layer([file_entry("noise", noise("a", 3_000_000), 0o644)], tmp_path, compression)
    with written.path.open("rb") as blob:
        done = subprocess.run(
            [compression.value, "--decompress", "--stdout"], stdin=blob, capture_output=True, check=True
        )
    assert hashlib.sha256(done.stdout).hexdigest() == written.diff_id.hex


places = st.lists(st.sampled_from(("a", "opt")), min_size=1, max_size=3).map("/".join)  # few, so that they meet
tree_entries = st.one_of(
    st.builds(file_entry, places, st.just(b"x"), st.just(0o644)),
    st.builds(directory_entry, places, st.sampled_from([0o700, 0o711, 0o755])),
    st.builds(symlink_entry, places, st.sampled_from(["nowhere", "a/b"])),
    st.builds(lambda place: file_entry(_hidden(place), b"", 0o644), places),
    st.builds(lambda place: file_entry(f"{place}/.wh..wh..opq", b"", 0o644), places),
)


def _hidden(place: str) -> str:
    folder, slash, name = place.rpartition("/")
    return f"{folder}{slash}.wh.{name}"


def arranged(entries: list[TarEntry]) -> list[TarEntry]:
    """Sort entries with their parents, whiteouts too; what does not fit the ones before is left out."""
    kept: dict[str, TarEntry] = {}
    for entry in entries:
        folders = ["/".join(entry.path.split("/")[:depth]) for depth in range(1, entry.path.count("/") + 1)]
        fits = all(kept.get(each, entry).kind is EntryKind.DIRECTORY or each not in kept for each in folders)
        if entry.path in kept or not fits or _hidden(entry.path) in kept:
            continue
        if any(_hidden(each) in kept for each in folders):
            continue  # engines disagree on a whiteout beside a directory of the same name
        if entry.path.rpartition("/")[2].startswith(".wh.") and not entry.path.endswith(".opq"):
            shown = entry.path.replace(".wh.", "")
            if any(path == shown or path.startswith(f"{shown}/") for path in kept):
                continue
        kept.update({each: directory_entry(each) for each in folders if each not in kept})
        kept[entry.path] = entry
    return sorted(kept.values(), key=lambda entry: entry.path.encode())


REPLACED = [  # an opaque directory, and a directory where a link was
    arranged([directory_entry("a/a", 0o700), directory_entry("opt"), symlink_entry("b", "a")]),
    arranged([file_entry("a/.wh..wh..opq", b"", 0o644), directory_entry("a/opt"), directory_entry("b")]),
]


@example(REPLACED)
@settings(max_examples=20, phases=[Phase.explicit, Phase.generate], deadline=None, database=None)
@given(st.lists(st.lists(tree_entries, min_size=3, max_size=8).map(arranged), min_size=3, max_size=5))
def test_the_inventory_of_any_layers_is_what_umoci_unpacks(layers: list[list[TarEntry]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        written = [write_layer(layer, here, Compression.GZIP) for layer in layers]
        image = image_of(written[0], here, *written[1:])
        layout = Layout(here / "layout")
        layout.write_image(image)
        layout.set_tags({"v1": image.descriptor})
        run("umoci", "unpack", "--rootless", "--image", f"{layout.path}:v1", here / "bundle")
        root = here / "bundle" / "rootfs"
        found = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
        inventory = read_inventory(image)
        assert {path: mode for path, (mode, _, _) in inventory.directories.items()} == {
            name: path.stat().st_mode & 0o7777
            for name, path in found.items()
            if path.is_dir() and not path.is_symlink() and name.count("/") < (4 if name.startswith("opt/") else 2)
        }
        assert inventory.links == {name: os.readlink(path) for name, path in found.items() if path.is_symlink()}
        files = {name: path for name, path in found.items() if path.is_file() and not path.is_symlink()}
        assert set(inventory.programs) == {name for name, path in files.items() if path.stat().st_mode & 0o111}


def test_umoci_unpacks_a_layout_with_its_whiteouts(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    old = sorted_with_parents([file_entry("opt/env/old", b"old", 0o644), file_entry("opt/kept", b"k", 0o640)], {})
    new = sorted_with_parents([file_entry("opt/env/new", b"new", 0o755)], {"opt/env": (0o750, 0, 0)})
    layers = [write_layer(each, blobs, Compression.GZIP) for each in (old, whiteouts(["opt/env"], {}), new)]
    image = image_of(layers[0], blobs, *layers[1:])
    layout = Layout(tmp_path / "layout")
    layout.write_image(image)
    layout.set_tags({"v1": image.descriptor})
    run("umoci", "unpack", "--rootless", "--image", f"{layout.path}:v1", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == [
        *("bottom", "opt", "opt/env", "opt/env/new", "opt/kept")
    ]
    assert (root / "opt/env").stat().st_mode & 0o7777 == 0o750
    process = json.loads((tmp_path / "bundle" / "config.json").read_bytes())["process"]
    assert "A=1" in process["env"]
