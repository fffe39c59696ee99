"""What a source distribution says of its build: the requirements of `pyproject.toml`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Of a source without `pyproject.toml`: PEP 518 and PEP 517.
_LEGACY = ("setuptools>=40.8.0", "wheel")


def build_requirements(source: Path) -> tuple[str, ...]:
    """Return what must be installed to build a source folder or archive; nothing of it is run.

    Source: PEP 518.
    """
    text = _pyproject(source)
    if text is None:
        return _LEGACY
    try:
        system = tomllib.loads(text.decode()).get("build-system", {})
    except ValueError:
        return _LEGACY
    return tuple(str(each) for each in system.get("requires", _LEGACY))


def _pyproject(source: Path) -> bytes | None:
    with suppress(FileNotFoundError, KeyError, StopIteration):
        if source.is_dir():
            return (source / "pyproject.toml").read_bytes()
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                return archive.read(next(filter(_is_top, archive.namelist())))
        with tarfile.open(source) as archive:
            member = archive.extractfile(next(filter(_is_top, archive.getnames())))
            return member.read() if member is not None else None
    return None


def _is_top(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/pyproject.toml")
