"""Byte code that is kept between builds, by what it is made of: source, name in the image, and Python.

A file is named `<key>.<digest>`: the digest is of its content, so that one listing finds all that is there and
damage shows. Scripts in the environment's own Python read the same folder (`environment_scripts`).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


class KeptBytecode:
    """The byte code of one Python.

    Args:
        directory: Where it is kept; made if need be.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        names = (path.name for path in directory.iterdir())
        self._digests = dict(name.split(".", 1) for name in names if not name.startswith("."))

    def key(self, source: bytes, name: str) -> str:
        """Return the key of a module's byte code.

        Args:
            source: Its source.
            name: Its absolute path in the image.
        """
        return hashlib.sha256(hashlib.sha256(source).digest() + name.encode()).hexdigest()

    def find(self, key: str) -> Path | None:
        """Return the intact byte code of a key, or None; what is damaged is dropped."""
        digest = self._digests.get(key)
        if digest is None:
            return None
        path = self.directory / f"{key}.{digest}"
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                os.utime(path)  # least recently used goes first when the cache is pruned
                return path
            path.unlink(missing_ok=True)
        except OSError:
            pass  # pruned meanwhile, or not ours to touch: made again
        return None

    def keep(self, key: str, made: Path) -> Path:
        """Move byte code that was just made to its place, and return that."""
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        path = made.replace(self.directory / f"{key}.{digest}")
        self._digests[key] = digest
        return path
