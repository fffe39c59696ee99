"""Reads what uv resolved, and writes what it is to prefer: `pylock.toml`, with the files of each distribution."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tomli_w
from packaging.utils import canonicalize_name

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.locking.field_checks import is_sha256
from mlflow_dbimage.locking.lock_inputs import without_user
from mlflow_dbimage.locking.locked_packages import WheelSource
from mlflow_dbimage.locking.package_owners import ResolvedDistribution
from mlflow_dbimage.locking.wheel_choice import OfferedWheel
from mlflow_dbimage.version_pins import is_version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_resolution(text: str) -> tuple[ResolvedDistribution, ...]:
    """Return the distributions of a `pylock.toml`, without credentials.

    Source: PEP 751, version 1.0.

    Raises:
        ServiceError: `index-failed`, an index gives a hash that is none: uv passes on whatever it is told.
    """
    packages = tomllib.loads(text).get("packages", ())
    return tuple(sorted((_distribution(package) for package in packages), key=lambda each: each.name))


def preferences(versions: Mapping[str, str]) -> str:
    """Write a `pylock.toml` of versions alone, by name: uv reads no more of a lock that it is to write anew.

    Versions that no index can have are left out: uv refuses the whole file for one of them.
    """
    packages = [
        {"name": name, "version": versions[name]} for name in sorted(versions) if is_version(versions[name])
    ]
    return tomli_w.dumps({"lock-version": "1.0", "created-by": "mlflow-dbimage", "packages": packages})


def relative_to(directory: Path, text: str, written: Path) -> str:
    """Return a `pylock.toml` whose paths are relative to `directory`, and not to the folder it was written to."""
    document = tomllib.loads(text)
    for package in document.get("packages", ()):
        tables = [
            package.get("directory"),
            package.get("archive"),
            package.get("sdist"),
            *package.get("wheels", ()),
        ]
        for table in tables:
            if table is not None and "path" in table:
                path = os.path.normpath(written / table["path"])
                table["path"] = os.path.relpath(path, directory.resolve())
    return tomli_w.dumps(document)


def _distribution(package: Mapping[str, Any]) -> ResolvedDistribution:
    wheels = [_wheel(entry) for entry in package.get("wheels", ())]
    source = _source(package)
    archive = package.get("archive")
    if archive is not None and _file_name(archive).endswith(".whl"):
        wheels.append(_wheel(archive))
    return ResolvedDistribution(
        name=canonicalize_name(package["name"]),
        version=package.get("version"),
        wheels=tuple(wheels),
        source=source,
        direct=any(kind in package for kind in ("archive", "vcs", "directory")),
    )


def _wheel(entry: Mapping[str, Any]) -> OfferedWheel:
    url = entry.get("url")
    return OfferedWheel(
        file_name=_file_name(entry),
        sha256=_sha256(entry),
        size=entry.get("size"),
        url=None if url is None else without_user(url.partition("#")[0]),
        path=entry.get("path"),
    )


def _source(package: Mapping[str, Any]) -> WheelSource | None:
    if "vcs" in package:
        vcs = package["vcs"]
        return WheelSource(
            kind="git",
            location=without_user(vcs["url"]),
            commit=vcs["commit-id"],
            subdirectory=vcs.get("subdirectory"),
        )
    if "directory" in package:
        return WheelSource(kind="path", location=package["directory"]["path"])
    entry = package.get("sdist") or package.get("archive")
    if entry is None or _file_name(entry).endswith(".whl"):
        return None
    sha256 = _sha256(entry)
    if "path" in entry:
        return WheelSource(kind="path", location=entry["path"], sha256=sha256)
    location = without_user(entry["url"].partition("#")[0])
    return WheelSource(kind="sdist", location=location, sha256=sha256, subdirectory=entry.get("subdirectory"))


def _sha256(entry: Mapping[str, Any]) -> str | None:
    sha256: str | None = entry.get("hashes", {}).get("sha256")
    if sha256 is not None and not is_sha256(sha256):  # it names a file of the cache
        raise ServiceError(
            "index-failed", f"the index gives {sha256!r:.80} as the sha256 of `{_file_name(entry)}`"
        )
    return sha256


def _file_name(entry: Mapping[str, Any]) -> str:
    place = entry.get("name") or entry.get("path") or urlsplit(entry["url"]).path
    return unquote(str(place).rstrip("/").rsplit("/", 1)[-1])
