"""How layers are compressed, and which bytes come of it.

Compressed bytes are the same only for the same library, version and level, so each codec has an `identity`
that is recorded with every image. gzip is the default: some engines in use cannot read zstd
(docs/measurements.md). The libraries are imported where they are used: one of them may be missing.
"""

from __future__ import annotations

import enum
import gzip
import lzma
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol, cast

from mlflow_dbimage.errors import InputError, UsageError
from mlflow_dbimage.oci.descriptor import (
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_LAYER_ZSTD,
    OCI_LAYER_GZIP,
    OCI_LAYER_TAR,
    OCI_LAYER_ZSTD,
)
from mlflow_dbimage.oci.verified import Source

#: 15 times the throughput of zlib's level 6 for a sixth more bytes (docs/measurements.md).
_ISAL_LEVEL = 2
_ZLIB_LEVEL = 1
_ZSTD_LEVEL = 3

# Deflate, no flags, no time, no extra flags, unknown system (RFC 1952, 2.3): nothing of the machine.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

#: What archives of root file systems and layers begin with, by media type.
_MAGIC = {
    b"\x1f\x8b": OCI_LAYER_GZIP,
    b"\x28\xb5\x2f\xfd": OCI_LAYER_ZSTD,
}
_XZ = b"\xfd7zXZ"


class Compressor(Protocol):
    """A running compression."""

    def compress(self, data: bytes, /) -> bytes:
        """Take bytes, and give what is ready."""

    def finish(self) -> bytes:
        """Give the rest."""


class Compression(enum.Enum):
    """A codec of layers."""

    GZIP = "gzip"
    ZSTD = "zstd"

    @classmethod
    def named(cls, name: str) -> Compression:
        """Find a codec by its name.

        Raises:
            UsageError: `bad-value`.
        """
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(each.value for each in cls)
            raise UsageError("bad-value", f"no compression is named `{name}`; known are {known}") from None

    @classmethod
    def of_identity(cls, identity: str) -> Compression:
        """Return the codec that said of itself that it is `identity`, in whatever version."""
        return cls.ZSTD if identity.startswith("zstd ") else cls.GZIP

    @property
    def media_type(self) -> str:
        """The media type of a layer so compressed."""
        return OCI_LAYER_GZIP if self is Compression.GZIP else OCI_LAYER_ZSTD

    @property
    def identity(self) -> str:
        """Library, version and level: what decides the compressed bytes."""
        if self is Compression.ZSTD:
            zstd = _zstd()
            return f"zstd {'.'.join(map(str, zstd.zstd_version_info))} level {_ZSTD_LEVEL}"
        isal = _isal()
        if isal is None:
            return f"zlib {zlib.ZLIB_RUNTIME_VERSION} level {_ZLIB_LEVEL}"
        return f"isa-l {isal.ISAL_VERSION} level {_ISAL_LEVEL}"

    def compressor(self) -> Compressor:
        """Begin a compression.

        Raises:
            UsageError: `bad-value`, there is no library for it.
        """
        return _Zstd() if self is Compression.ZSTD else _Gzip()


class _Gzip:
    def __init__(self) -> None:
        isal = _isal()
        library, level = (zlib, _ZLIB_LEVEL) if isal is None else (isal.isal_zlib, _ISAL_LEVEL)
        self._deflate = library.compressobj(level, zlib.DEFLATED, -15)
        self._crc32 = library.crc32
        self._checksum = 0
        self._size = 0
        self._head = _GZIP_HEADER

    def compress(self, data: bytes, /) -> bytes:
        self._checksum = self._crc32(data, self._checksum)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + bytes(self._deflate.compress(data))

    def finish(self) -> bytes:
        trailer = self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return self._head + bytes(self._deflate.flush()) + trailer


class _Zstd:
    def __init__(self) -> None:
        self._library = _zstd()
        self._frame = self._library.ZstdCompressor(level=_ZSTD_LEVEL)

    def compress(self, data: bytes, /) -> bytes:
        return bytes(self._frame.compress(data))

    def finish(self) -> bytes:
        return bytes(self._frame.flush())


def _isal() -> Any:
    """Import isal, or None on processors that it has no build for."""
    try:
        import isal
        from isal import isal_zlib  # noqa: F401  # binds the submodule
    except ImportError:
        return None
    return isal


def _zstd() -> ModuleType:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd
    try:
        from backports import zstd
    except ImportError:
        raise UsageError(
            "bad-value",
            "zstd needs a library that is not installed",
            hint="`pip install 'mlflow-dbimage[zstd]'`, or compress with gzip",
        ) from None
    return zstd


def open_decompressed(stream: Source, media_type: str) -> BinaryIO:
    """Return the tar stream of a layer's blob. gzip may have many members, zstd many frames.

    Raises:
        InputError: `base-invalid`, the media type is not one of a layer.
    """
    blob = cast(BinaryIO, stream)
    if media_type in (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP):
        if _isal() is None:
            return cast(BinaryIO, gzip.GzipFile(fileobj=blob))
        from isal import igzip

        return cast(BinaryIO, igzip.IGzipFile(fileobj=blob))
    if media_type in (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD):
        return cast(BinaryIO, _zstd().ZstdFile(blob))
    if media_type in (OCI_LAYER_TAR, DOCKER_LAYER_TAR):
        return blob
    raise InputError("base-invalid", f"a layer has the unknown media type `{media_type}`")


@contextmanager
def opened_tar(path: Path) -> Iterator[BinaryIO]:
    """Open a tar file that may be compressed (gzip, zstd, xz), told by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(len(_XZ))
        stream.seek(0)
        if head == _XZ:
            with lzma.open(stream) as plain:
                yield cast(BinaryIO, plain)
        else:
            yield open_decompressed(stream, sniffed_media_type(head))


@contextmanager
def damage_of(what: str) -> Iterator[None]:
    """Turn what decompressors and `tarfile` say of damaged bytes into an `InputError`; other errors pass.

    Args:
        what: Is read, for the message.
    """
    try:
        yield
    except damages() as error:
        reason = str(error) or type(error).__name__
        raise InputError("base-invalid", f"{what} is damaged: {reason}") from error


def damages() -> tuple[type[Exception], ...]:
    """Return what decompressors and `tarfile` raise on damaged bytes."""
    # tarfile also lets ValueError and its like escape, where a pax header is nonsense
    known = [EOFError, ValueError, OverflowError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError]
    isal = _isal()
    if isal is not None:
        known.append(isal.isal_zlib.IsalError)
    with suppress(UsageError):  # without the library nothing was read by it
        known.append(_zstd().ZstdError)
    return tuple(known)


def sniffed_media_type(head: bytes) -> str:
    """Tell how a tar archive is compressed from its first bytes; plain if it is none of ours."""
    found = (media_type for magic, media_type in _MAGIC.items() if head.startswith(magic))
    return next(found, OCI_LAYER_TAR)
