"""The archive of a wheel, whose members are inflated by isa-l where it has a build for this processor.

`zipfile` takes half as much processor time again, most of it for members of a few kilobytes. It reads the
directory, and what is encrypted or compressed in another way. What it checks of a member is checked here, too.
Source: PKWARE's APPNOTE.TXT 4.3.7, "Local file header".
"""

from __future__ import annotations

import os
import struct
import zipfile
from typing import IO, Any, Literal, cast

_zlib: Any
try:
    from isal import isal_zlib as _zlib
except ImportError:
    import zlib as _zlib

_CHUNK = 1 << 20
_HEADER = struct.Struct("<4s5H3I2H")
_MAGIC = b"PK\x03\x04"
_UTF8 = 0x800
# Flags that change nothing of how content is read: UTF-8 names, sizes behind the content, speed of compression.
_HARMLESS = _UTF8 | 0x8 | 0x6


class WheelArchive(zipfile.ZipFile):
    """A zip file that is open for reading.

    Args:
        stream: Of a file on disk.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self._descriptor = stream.fileno()

    def open(
        self,
        name: str | zipfile.ZipInfo,
        mode: Literal["r", "w"] = "r",
        pwd: bytes | None = None,
        *,
        force_zip64: bool = False,
    ) -> IO[bytes]:
        """Open a member; reading it raises `zipfile.BadZipFile` where it is not what the directory says."""
        member = name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)
        ordinary = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not ordinary or member.flag_bits & ~_HARMLESS:
            return super().open(member, mode, pwd, force_zip64=force_zip64)
        return cast("IO[bytes]", _Member(self._descriptor, member))


class _Member:
    """Reads a member, in as few calls as its size allows."""

    def __init__(self, descriptor: int, member: zipfile.ZipInfo) -> None:
        self._descriptor = descriptor
        self._member = member
        self._inflater = None if member.compress_type == zipfile.ZIP_STORED else _zlib.decompressobj(-15)
        self._crc, self._left = 0, member.file_size
        self._packed_left = member.compress_size
        self._pending = self._first()

    def __enter__(self) -> _Member:
        return self

    def __exit__(self, *error: object) -> None:
        self._pending = b""

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, or all that are left."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        try:
            data = self._next(size)
        except _zlib.error as error:
            raise self._invalid(str(error)) from error
        self._crc = _zlib.crc32(data, self._crc)
        self._left -= len(data)
        if self._left < 0 or (not data and self._left > 0):
            raise self._invalid("it has another size than is stated")
        if self._left == 0 and self._crc != self._member.CRC:
            raise self._invalid("bad CRC-32")
        return data

    def _next(self, size: int) -> bytes:
        data = b""
        while not data and (self._pending or self._packed_left):
            if not self._pending:
                self._pending = self._packed(self._offset, _CHUNK)
            if self._inflater is None:
                data, self._pending = self._pending[:size], self._pending[size:]
            else:
                data = self._inflater.decompress(self._pending, size)
                self._pending = self._inflater.unconsumed_tail
        if not data and self._inflater is not None:
            data = self._inflater.flush()
            self._inflater = None
        return data

    def _first(self) -> bytes:
        """Read the header with what comes behind it, and return the beginning of the packed content."""
        member = self._member
        name = member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437")
        start = member.header_offset
        head = os.pread(self._descriptor, _HEADER.size + len(name), start)
        if len(head) != _HEADER.size + len(name) or not head.startswith(_MAGIC) or not head.endswith(name):
            raise self._invalid("it has no header, or another's")
        *_, name_length, extra_length = _HEADER.unpack_from(head)
        if name_length != len(name):
            raise self._invalid("it has another's header")
        return self._packed(start + _HEADER.size + name_length + extra_length, _CHUNK)

    def _packed(self, offset: int, size: int) -> bytes:
        data = os.pread(self._descriptor, min(size, self._packed_left), offset)
        if not data and self._packed_left:
            raise EOFError(f"{self._member.filename!r} is cut off")
        self._offset = offset + len(data)
        self._packed_left -= len(data)
        return data

    def _invalid(self, reason: str) -> zipfile.BadZipFile:
        return zipfile.BadZipFile(f"{self._member.filename!r}: {reason}")
