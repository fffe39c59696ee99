"""Members of a tar file that holds an image: found, read, and opened in their place. Nothing is unpacked."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import damages, opened_tar
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.disk_room import must_fit
from mlflow_dbimage.oci.verified import verified

_CHUNK = 1 << 20
_MOST_LINKS = 8
_MOST_DOCUMENT = 4 << 20


def without_compression(path: Path, scratch: Path) -> Path:
    """Give a tar file without its compression: itself, or one in `scratch` that is named by its content.

    Raises:
        InputError: `base-invalid`, it cannot be read.
        ServiceError: `disk-failed`, there is no room for what it unpacks to.
    """
    with _readable(path), opened_tar(path) as stream:
        if isinstance(stream, io.BufferedReader):
            return path  # it is the file itself
        scratch.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as compressed:
            target = scratch / f"{Digest.of_stream(compressed).hex}.tar"
        with tempfile.NamedTemporaryFile(dir=scratch, prefix=".archive-", delete=False) as out:
            try:
                while chunk := stream.read(_CHUNK):
                    must_fit(len(chunk), scratch, f"`{path}`")
                    out.write(chunk)
                Path(out.name).replace(target)
            finally:
                Path(out.name).unlink(missing_ok=True)
        return target


@contextmanager
def opened_archive(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar file that holds an image. What goes wrong while it is read is an `InputError`."""
    with _readable(path), tarfile.open(path, "r:") as archive:
        yield archive


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    malformed = (KeyError, TypeError, AttributeError, FileNotFoundError, IsADirectoryError)
    try:
        yield
    except damages() + malformed as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise InputError("base-invalid", f"`{path}` is no archive of an image: {reason}") from error


def open_part(path: Path, offset: int, descriptor: Descriptor) -> BinaryIO:
    """Open the part of an archive that is a layer; it is verified as it is read."""
    stream = path.open("rb")
    stream.seek(offset)
    return verified(cast(BinaryIO, _Part(stream, descriptor.size)), descriptor, str(path))


class _Part(io.RawIOBase):
    """The next bytes of a file, as a file that is closed with it."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def find_member(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """Find a file, following the links that old versions of Docker write between equal layers.

    Raises:
        ValueError: There is none.
    """
    for _ in range(_MOST_LINKS):
        try:
            member = archive.getmember(name)
        except KeyError:
            raise ValueError(f"it lacks `{name}`") from None
        if member.isreg() and not member.issparse():
            return member
        if not member.issym():
            break
        name = _resolved(name, member.linkname)
    raise ValueError(f"`{name}` in it is no file")


def _resolved(name: str, link: str) -> str:
    parts = name.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def read_document(archive: tarfile.TarFile, name: str) -> bytes:
    """Read a small file.

    Raises:
        ValueError: It is not there, or too large for a document.
    """
    member = find_member(archive, name)
    if member.size > _MOST_DOCUMENT:
        raise ValueError(f"`{name}` in it has {member.size} bytes")
    stream = archive.extractfile(member)
    assert stream is not None, "it is a file"
    return stream.read()
