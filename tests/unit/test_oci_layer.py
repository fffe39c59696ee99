"""Layers written to files."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.compression import Compression, open_decompressed
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, file_entry, sorted_with_parents, symlink_entry
from oci_samples import noise

ENTRIES = sorted_with_parents(
    [
        file_entry("a/one", noise("one", 3_000_000), 0o644),
        file_entry("a/two", b"2", 0o755),
        symlink_entry("l", "a"),
    ],
    {},
)
BOTH = pytest.mark.parametrize("compression", list(Compression))


@BOTH
def test_digests_and_sizes_are_those_of_the_file(compression: Compression, tmp_path: Path) -> None:
    written = write_layer(ENTRIES, tmp_path, compression)
    data = written.path.read_bytes()
    assert written.path == tmp_path / hashlib.sha256(data).hexdigest()
    assert written.descriptor.digest == Digest.of(data)
    assert (written.descriptor.size, written.descriptor.media_type) == (len(data), compression.media_type)
    plain = open_decompressed(io.BytesIO(data), compression.media_type).read()
    assert (written.diff_id, written.uncompressed_size) == (Digest.of(plain), len(plain))
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert archive.getnames() == ["a", "a/one", "a/two", "l"]
    assert written.file_count == 2
    assert list(tmp_path.iterdir()) == [written.path]
    assert written.path.stat().st_mode & 0o777 == 0o644


@BOTH
def test_equal_entries_give_equal_blobs(compression: Compression, tmp_path: Path) -> None:
    assert write_layer(ENTRIES, tmp_path, compression) == write_layer(iter(ENTRIES), tmp_path, compression)


def test_the_diff_id_does_not_depend_on_the_codec(tmp_path: Path) -> None:
    diff_ids = {str(write_layer(ENTRIES, tmp_path, compression).diff_id) for compression in Compression}
    assert diff_ids == {"sha256:bc964e0b7f171888699b16d4c4d3d46ab5f567cfe5ebf6fbeb5a1103df75853d"}


def test_a_layer_opens_its_file(tmp_path: Path) -> None:
    written = write_layer(ENTRIES, tmp_path, Compression.GZIP)
    layer = as_layer(written)
    assert (layer.descriptor, layer.diff_id, layer.origin) == (written.descriptor, written.diff_id, None)
    with layer.open() as first, layer.open() as second:
        assert first.read() == second.read() == written.path.read_bytes()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(VerificationError):
        write_layer(reversed(ENTRIES), tmp_path, Compression.GZIP)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_is_never_held_in_memory(tmp_path: Path) -> None:
    class Zeros(io.RawIOBase):
        left = 200_000_000

        def read(self, size: int = -1) -> bytes:
            count = min(size, self.left)
            self.left -= count
            return bytes(count)

    entry = TarEntry(path="z", kind=EntryKind.FILE, mode=0o644, size=Zeros.left, content=Zeros)
    tracemalloc.start()
    try:
        written = write_layer([entry], tmp_path, Compression.GZIP)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written.uncompressed_size > Zeros.left
    assert peak < 20_000_000
