"""What a source distribution says of its build, in `pyproject.toml`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Of a source without `pyproject.toml`: PEP 518 and PEP 517.
_LEGACY_REQUIRES = ("setuptools>=40.8.0",)
_LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSystem:
    """The table `build-system`."""

    requires: tuple[str, ...] = _LEGACY_REQUIRES
    backend: str = _LEGACY_BACKEND
    backend_path: tuple[str, ...] = ()


def build_system(source: Path) -> BuildSystem:
    """Return how a source folder or archive is built; nothing of it is run.

    Source: PEP 517, PEP 518.
    """
    text = _pyproject(source)
    if text is None:
        return BuildSystem()
    try:
        table = tomllib.loads(text.decode()).get("build-system", {})
        return BuildSystem(
            requires=tuple(map(str, table.get("requires", _LEGACY_REQUIRES))),
            backend=str(table.get("build-backend", _LEGACY_BACKEND)),
            backend_path=tuple(map(str, table.get("backend-path", ()))),
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return BuildSystem()


def _pyproject(source: Path) -> bytes | None:
    with suppress(FileNotFoundError, KeyError, StopIteration):
        if source.is_dir():
            with (source / "pyproject.toml").open("rb") as stream:
                return stream.read(_LARGEST)
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                return archive.open(next(filter(_is_top, archive.namelist()))).read(_LARGEST)
        with tarfile.open(source) as archive:
            member = archive.extractfile(next(filter(_is_top, archive.getnames())))
            return member.read(_LARGEST) if member is not None else None
    return None


def _is_top(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/pyproject.toml")
