"""Packs a built wheel again, so that the same content has the same bytes wherever it was built."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

_TIME = (1980, 1, 1, 0, 0, 0)


def repack(wheel: Path, into: Path) -> None:
    """Write a wheel with sorted members and RECORD, one time, plain modes, and no compression.

    Compressed bytes would depend on the zlib of the machine; the wheel never leaves our cache.
    """
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as target:
        for member in sorted(source.infolist(), key=lambda member: member.filename):
            if member.is_dir():
                continue
            content = source.read(member)
            if member.filename.endswith(".dist-info/RECORD"):
                content = b"".join(sorted(content.splitlines(keepends=True)))
            executable = (member.external_attr >> 16) & 0o111
            plain = zipfile.ZipInfo(member.filename, _TIME)
            plain.create_system = 3  # Unix, whatever this machine is
            plain.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            target.writestr(plain, content)
