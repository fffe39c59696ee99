"""The members of a tar stream as `tarfile` reads them, for a fraction of what it costs.

`tarfile` itself finds and understands the members. Only what it spends its time on is done here: skipping over
contents, and headers that are plain ustar, which nearly all are (docs/measurements.md). Nothing is kept.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, BinaryIO, cast

from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.verified import Source

_BLOCK = 512
_CHUNK = 1 << 20
_TYPES = frozenset({tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE})
# Mode, uid, gid, size, time and checksum; and that of devices, which is no device's. All else `tarfile` reads.
_NUMBERS = re.compile(rb"([0-7]{7})\0([0-7]{7})\0([0-7]{7})\0([0-7]{11})\0([0-7]{11})\0([0-7]{6})\0 ")
_NO_DEVICE = frozenset({b"0000000\0" * 2, bytes(16)})

OpenContent = Callable[[], IO[bytes]]


class TarMembers:
    """A tar stream that is read once, to its end, and digested as it is.

    Args:
        stream: The stream; it is not closed.
    """

    def __init__(self, stream: Source) -> None:
        self._stream = _Forward(stream)

    def __iter__(self) -> Iterator[tuple[tarfile.TarInfo, OpenContent]]:
        """Give each member, and what opens the content of a regular file, to be read before the next is asked for.

        Raises:
            tarfile.TarError: It is no archive, or damaged; so are `ValueError` and what reading the stream raises.
        """
        with tarfile.TarFile(fileobj=cast(BinaryIO, self._stream), tarinfo=_Member) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else every header is kept
                yield member, partial(_content, archive, member)
        self._stream.drain()  # an archive may end before its stream does

    @property
    def digest(self) -> Digest:
        """Of what was read so far."""
        return self._stream.digest


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    assert stream is not None, "it is a file"
    return stream


class _Forward:
    """A stream in large pieces, each hashed once, in which one can go forward alone."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._state = hashlib.sha256()
        self._piece = b""
        self._at = 0
        self._before = 0

    def tell(self) -> int:
        return self._before + self._at

    def seek(self, position: int) -> None:
        """Go on to a position; past the end, where there is none."""
        self._at += position - self.tell()
        if self._at < 0:
            raise tarfile.StreamError("seeking backwards is not allowed")
        while self._at > len(self._piece) and self._next():
            pass

    def read(self, size: int = -1) -> bytes:
        found = self._piece[self._at : self._at + size] if size >= 0 else self._piece[self._at :]
        self._at += len(found)
        if len(found) == size:
            return found
        parts, left = [found], size - len(found)
        while (size < 0 or left > 0) and self._next():
            part = self._piece[:left] if size >= 0 else self._piece
            self._at = len(part)
            left -= len(part)
            parts.append(part)
        return b"".join(parts)

    def drain(self) -> None:
        while self._next():
            pass

    @property
    def digest(self) -> Digest:
        return Digest(self._state.hexdigest())

    def _next(self) -> bool:
        """Take the next piece; the place in it may lie ahead."""
        piece = self._source.read(_CHUNK) or b""
        self._state.update(piece)
        if piece:
            self._before += len(self._piece)
            self._at -= len(self._piece)
            self._piece = piece
        return bool(piece)


class _Member(tarfile.TarInfo):
    """What `tarfile` makes of a header, made of a plain one at once."""

    __slots__ = ()

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        """Read a header; as `tarfile.TarInfo.frombuf`."""
        numbers = _NUMBERS.match(buf, 100) if len(buf) == _BLOCK else None
        kind = buf[156:157]
        if numbers is None or kind not in _TYPES or buf[329:345] not in _NO_DEVICE:
            return super().frombuf(buf, encoding, errors)
        mode, uid, gid, size, time, checksum = (int(each, 8) for each in numbers.groups())
        if sum(buf) - sum(buf[148:156]) + 8 * 0x20 != checksum:
            return super().frombuf(buf, encoding, errors)
        member = cls(_text(buf[:100], encoding, errors))
        member.mode, member.uid, member.gid, member.size, member.mtime = mode, uid, gid, size, time
        member.chksum, member.type = checksum, bytes(kind)
        member.linkname = _text(buf[157:257], encoding, errors)
        member.uname, member.gname = _text(buf[265:297], encoding, errors), _text(buf[297:329], encoding, errors)
        prefix = _text(buf[345:500], encoding, errors)
        if kind == tarfile.DIRTYPE:
            member.name = member.name.rstrip("/")
        if prefix:
            member.name = f"{prefix}/{member.name}"
        return member


def _text(field: bytes | bytearray, encoding: str, errors: str) -> str:
    return field.partition(b"\0")[0].decode(encoding, errors)
