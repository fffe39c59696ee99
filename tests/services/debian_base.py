"""A real Debian root file system for images to stand on, made once by mmdebstrap and kept."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from filelock import FileLock

from mlflow_dbimage.backends.mmdebstrap import Mmdebstrap
from mlflow_dbimage.oci.descriptor import Platform

#: glibc 2.36; a stable release that keeps its mirror for years.
SUITE = "bookworm"


def debian_base(kept: Path) -> Path:
    """Return a root file system tarball, made on the first call; of several processes one makes it.

    Args:
        kept: Folder in which it is kept, under a name that says what it was made from.

    Raises:
        DbimageError: mmdebstrap is missing or failed.
    """
    maker = Mmdebstrap()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    key = hashlib.sha256(json.dumps([SUITE, architecture, maker.identity]).encode()).hexdigest()[:12]
    target = kept / f"{SUITE}-{architecture}-{key}.tar"
    kept.mkdir(parents=True, exist_ok=True)
    with FileLock(kept / "base.lock"):
        if not target.exists():
            maker.write_root_file_system(SUITE, Platform("linux", architecture), target)
    return target
