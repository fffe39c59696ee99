"""Streams that say what passed through them, and blobs that are refused where they are not what they should be."""

from __future__ import annotations

import hashlib
import io
from typing import Any, BinaryIO, Protocol, cast

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest

_CHUNK = 1 << 20
_MOST_ENDS = 100


class Source(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes | None:
        """Give up to `size` bytes, none at the end."""


class EndingStream(io.RawIOBase):
    """A stream that is not read on and on after its end.

    `tarfile` skips a file by reading as much as its header says, whether that is there or not: for a file of
    2**60 bytes that takes years.
    """

    _ends = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def _told(self, count: int) -> int:
        """Take note of how many bytes were read."""
        self._ends = 0 if count else self._ends + 1
        if self._ends > _MOST_ENDS:
            raise EOFError("it ends within a file")
        return count


class DigestingStream(EndingStream):
    """A stream that counts and digests what is read from it.

    Args:
        source: The stream beneath; it is not closed.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._state = hashlib.sha256()
        self.size = 0

    def readinto(self, buffer: Any, /) -> int:
        """Read some of the stream."""
        data = self._source.read(len(buffer)) or b""
        buffer[: len(data)] = data
        self._state.update(data)
        self.size += len(data)
        return self._told(len(data))

    def drain(self) -> None:
        """Read what is left: an archive may end before its stream does."""
        while self.read(_CHUNK):
            pass

    @property
    def digest(self) -> Digest:
        """Of what was read so far."""
        return Digest(self._state.hexdigest())


class _VerifiedBlob(DigestingStream):
    """A blob whose end is refused where size or digest are wrong."""

    def __init__(self, blob: BinaryIO, descriptor: Descriptor, place: str) -> None:
        super().__init__(blob)
        self._blob = blob
        self._descriptor = descriptor
        self._place = place

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        too_long = self.size > self._descriptor.size
        if (count == 0 and len(buffer) > 0) or too_long:
            self._check()
        return count

    def close(self) -> None:
        if not self.closed:
            self._blob.close()
        super().close()

    def _check(self) -> None:
        wanted = self._descriptor
        if self.size != wanted.size:
            relation = "more than" if self.size > wanted.size else f"{self.size} of"
            raise VerificationError(
                "digest-mismatch",
                f"the blob {wanted.digest} in `{self._place}` has {relation} its {wanted.size} bytes",
            )
        if self.digest != wanted.digest:
            raise VerificationError(
                "digest-mismatch",
                f"the blob {wanted.digest} in `{self._place}` has the digest {self.digest}",
            )


def verified(blob: BinaryIO, descriptor: Descriptor, place: str) -> BinaryIO:
    """Return a blob that is checked as it is read, and closed with what is returned.

    Reading raises `VerificationError` (`digest-mismatch`) in the place of the end where size or digest are
    wrong, so whoever reads to the end has the right bytes.

    Args:
        blob: Its bytes.
        descriptor: What they should be.
        place: Where the blob lies, for messages.
    """
    return cast(BinaryIO, io.BufferedReader(_VerifiedBlob(blob, descriptor, place), _CHUNK))
