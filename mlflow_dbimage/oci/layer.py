"""Layers written: tar, diff ID, compression and digest in one pass, nothing held in memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, write_tar

#: Small writes are gathered, so that hashing and compressing are called seldom: they release the interpreter.
_GATHER = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
    """A layer whose blob is a file."""

    descriptor: Descriptor
    diff_id: Digest
    path: Path
    """Of the blob, named by its digest."""
    file_count: int
    """Files, without directories and links."""
    uncompressed_size: int
    """Bytes of the tar stream."""


def write_layer(entries: Iterable[TarEntry], directory: Path, compression: Compression) -> WrittenLayer:
    """Write a layer's blob to `directory`, under its digest.

    Args:
        entries: Sorted, with parents.
        directory: Where blobs are kept; the blob appears there whole or not at all.
        compression: How it is compressed.

    Raises:
        VerificationError: `image-invalid`, from `write_tar`.
        OSError: The disk is full or forbidden.
    """
    with new_layer(directory, compression) as sink:
        write_tar(_counted(entries, sink), sink)
        return sink.finish()


def diff_id_of(entries: Iterable[TarEntry]) -> Digest:
    """Return the diff ID of the layer that `write_layer` would write, for a third of its cost.

    Raises:
        VerificationError: `image-invalid`, from `write_tar`.
    """
    state = hashlib.sha256()
    pieces = _Pieces(state.update)
    write_tar(entries, pieces)
    pieces.pass_on()
    return Digest(state.hexdigest())


def as_layer(written: WrittenLayer) -> Layer:
    """Return the layer of a written blob."""
    return Layer(descriptor=written.descriptor, diff_id=written.diff_id, open=lambda: written.path.open("rb"))


@contextmanager
def new_layer(directory: Path, compression: Compression) -> Iterator[LayerSink]:
    """Begin a blob in `directory`; it appears there when the sink is finished, and never in part."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".layer-", delete=False) as out:
        try:
            yield LayerSink(out, directory, compression)  # type: ignore[arg-type]  # a wrapper of a BinaryIO
        finally:
            Path(out.name).unlink(missing_ok=True)


class _Pieces:
    """Gathers what is written to it, and passes it on in large pieces."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._gathered: list[bytes] = []
        self._waiting = 0

    def write(self, data: bytes, /) -> None:
        self._gathered.append(data)
        self._waiting += len(data)
        if self._waiting >= _GATHER:
            self.pass_on()

    def pass_on(self) -> None:
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._waiting = 0
        self._take(data)


class LayerSink:
    """Takes a tar stream, and digests, compresses and writes it in one pass. Use `new_layer`."""

    def __init__(self, out: BinaryIO, directory: Path, compression: Compression) -> None:
        self.file_count = 0
        self._out = out
        self._directory = directory
        self._media_type = compression.media_type
        self._compressor = compression.compressor()
        self._plain = hashlib.sha256()
        self._compressed = hashlib.sha256()
        self._plain_size = self._compressed_size = 0
        self._pieces = _Pieces(self._take)

    def write(self, data: bytes, /) -> None:
        """Take some of the tar stream."""
        self._pieces.write(data)

    def finish(self) -> WrittenLayer:
        """End the blob, and give it its name."""
        self._pieces.pass_on()
        self._emit(self._compressor.finish())
        self._out.flush()
        digest = Digest(self._compressed.hexdigest())
        path = self._directory / digest.hex
        aside = Path(self._out.name)
        aside.chmod(0o644)
        aside.replace(path)
        return WrittenLayer(
            descriptor=Descriptor(media_type=self._media_type, digest=digest, size=self._compressed_size),
            diff_id=Digest(self._plain.hexdigest()),
            path=path,
            file_count=self.file_count,
            uncompressed_size=self._plain_size,
        )

    def _take(self, data: bytes) -> None:
        self._plain.update(data)
        self._plain_size += len(data)
        self._emit(self._compressor.compress(data))

    def _emit(self, data: bytes) -> None:
        self._compressed.update(data)
        self._compressed_size += len(data)
        self._out.write(data)


def _counted(entries: Iterable[TarEntry], sink: LayerSink) -> Iterator[TarEntry]:
    for entry in entries:
        sink.file_count += entry.kind is EntryKind.FILE
        yield entry
