"""Digests of content: `sha256:` and 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO

_PATTERN = re.compile(r"sha256:([0-9a-f]{64})")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The SHA-256 of some bytes.

    Source: OCI image specification 1.1, descriptor.md, "Digests". Other algorithms are refused: no registry
    that we know of uses them.
    """

    hex: str
    """64 lower-case hexadecimal digits."""

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>`.

        Raises:
            ValueError: The text is no such digest.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"not a sha256 digest: {text!r}")
        return cls(match.group(1))

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Digest bytes in memory."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def of_stream(cls, stream: BinaryIO) -> Digest:
        """Digest a stream to its end, holding one MiB at a time."""
        state = hashlib.sha256()
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
        return cls(state.hexdigest())

    @property
    def short(self) -> str:
        """The first 12 digits: enough for people and for tags."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
