"""A conda channel of tiny packages made on the spot, for tests of the solver's rules."""

from __future__ import annotations

import asyncio
import bz2
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rattler.index import index_fs

#: 2020-01-01, in milliseconds, as repodata has it.
LONG_AGO = 1577836800000


@dataclass(frozen=True, kw_only=True)
class ToyPackage:
    name: str
    version: str = "1.0"
    build: str = "0"
    subdir: str = "linux-64"
    depends: Sequence[str] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    timestamp: int = LONG_AGO


def toy_python(version: str, interpreter: str = sys.executable) -> ToyPackage:
    """A `python` whose interpreter is another one of this machine."""
    minor = ".".join(version.split(".")[:2])
    launcher = f'#!/bin/sh\nexec "{interpreter}" "$@"\n'.encode()
    return ToyPackage(
        name="python",
        version=version,
        depends=["__glibc >=2.17"],
        files={"bin/python": launcher, f"bin/python{minor}": launcher, f"lib/python{minor}/os.py": b""},
    )


def distribution_files(name: str, version: str, python: str, content: bytes = b"x = 1\n") -> dict[str, bytes]:
    """The files of an installed Python distribution with its metadata."""
    site = f"lib/python{python}/site-packages"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return {
        f"{site}/{name}/__init__.py": content,
        f"{site}/{name}-{version}.dist-info/METADATA": metadata.encode(),
        f"{site}/{name}-{version}.dist-info/INSTALLER": b"conda\n",
    }


def make_toy_channel(directory: Path, packages: Sequence[ToyPackage]) -> str:
    """Write the packages and their index; return the channel's URL."""
    for subdir in {"noarch", "linux-64", *(package.subdir for package in packages)}:
        (directory / subdir).mkdir(parents=True, exist_ok=True)
    for package in packages:
        _write(directory, package)
    asyncio.run(index_fs(directory))
    return directory.as_uri()


def _write(directory: Path, package: ToyPackage) -> None:
    index = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": 0,
        "depends": list(package.depends),
        "subdir": package.subdir,
        "timestamp": package.timestamp,
    }
    paths = [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_in_bytes": len(content),
        }
        for path, content in sorted(package.files.items())
    ]
    members = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
        "info/files": "".join(f"{path}\n" for path in sorted(package.files)).encode(),
        **package.files,
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, content in members.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            member.mode = 0o755 if path.startswith("bin/") else 0o644
            archive.addfile(member, io.BytesIO(content))
    file_name = f"{package.name}-{package.version}-{package.build}.tar.bz2"
    (directory / package.subdir / file_name).write_bytes(bz2.compress(stream.getvalue()))
