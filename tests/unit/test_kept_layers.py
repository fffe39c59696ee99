"""Layers are the same, whether or not they were written before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.kept_layers import KeptLayers
from mlflow_dbimage.model_layers import AddedLayer, LayerStyle, write_added
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.tar import TarEntry, file_entry, symlink_entry

ENTRIES = (
    file_entry("opt/a", b"first" * 1000, 0o644),
    file_entry("opt/b", b"", 0o755),
    symlink_entry("opt/c", "a"),
)


class Writer:
    """Writes layers, of which the cache may have some."""

    def __init__(self, folder: Path) -> None:
        self.cache = BuildCache.open(folder / "cache")
        self._plain = LayerStyle(
            directory=self.cache.directory("blobs"), compression=Compression.GZIP, parents={"opt": (0o755, 0, 0)}
        )

    def write(self, *entries: TarEntry, compressor: str = "a compressor", mode: int = 0o755) -> AddedLayer:
        kept = KeptLayers(cache=self.cache, compressor=compressor)
        return self._written(replace(self._plain, kept=kept, parents={"opt": (mode, 0, 0)}), entries)

    def afresh(self, *entries: TarEntry) -> AddedLayer:
        return self._written(self._plain, entries)

    def blob(self, layer: AddedLayer) -> Path:
        return self.cache.blob_path(layer.descriptor.digest)

    @staticmethod
    def _written(style: LayerStyle, entries: tuple[TarEntry, ...]) -> AddedLayer:
        return write_added("environment", "a title", (), entries, style)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    (tmp_path / "cache").mkdir()
    return Writer(tmp_path)


def test_what_was_written_is_not_written_again(writer: Writer) -> None:
    first = writer.write(*ENTRIES)
    inode = writer.blob(first).stat().st_ino
    assert writer.write(*ENTRIES) == first
    assert writer.blob(first).stat().st_ino == inode
    assert writer.afresh(*ENTRIES) == first


@pytest.mark.parametrize(
    "changed",
    [
        file_entry("opt/a", b"other" * 1000, 0o644),
        file_entry("opt/a", b"first" * 1001, 0o644),
        file_entry("opt/a", b"first" * 1000, 0o755),
        file_entry("opt/d", b"first" * 1000, 0o644),
        symlink_entry("opt/a", "b"),
        replace(ENTRIES[0], uid=7),
    ],
)
def test_whatever_else_it_holds_makes_it_another_layer(writer: Writer, changed: TarEntry) -> None:
    first = writer.write(*ENTRIES)
    other = writer.write(changed, *ENTRIES[1:])
    assert other == writer.afresh(changed, *ENTRIES[1:])
    assert other.diff_id != first.diff_id
    assert writer.write(*ENTRIES) == first


def test_folders_of_another_mode_make_it_another_layer(writer: Writer) -> None:
    assert writer.write(*ENTRIES).diff_id != writer.write(*ENTRIES, mode=0o750).diff_id


def test_another_compressor_writes_it_again(writer: Writer) -> None:
    inode = writer.blob(writer.write(*ENTRIES)).stat().st_ino
    assert writer.blob(writer.write(*ENTRIES, compressor="another")).stat().st_ino != inode


@pytest.mark.parametrize("damage", ["lost", "blob", "another layer", "form", "record"])
def test_what_is_damaged_is_made_again(writer: Writer, damage: str) -> None:
    layer = writer.write(*ENTRIES)
    (record,) = (writer.cache.root / "records" / "layers").iterdir()
    if damage == "lost":
        writer.blob(layer).unlink()
    elif damage == "blob":
        writer.blob(layer).write_bytes(b"damaged")
    elif damage == "record":
        record.write_bytes(b"{")
    else:
        other = writer.afresh(file_entry("opt/x", b"", 0o644))
        fields = {"descriptor": other.descriptor.to_dict(), "diff_id": str(other.diff_id)}
        writer.cache.put_record("layers", record.stem, fields if damage == "another layer" else {"diff_id": 7})
    assert writer.write(*ENTRIES) == layer
    assert writer.cache.has_intact_blob(layer.descriptor.digest)
