"""Where advisories are: a local copy of OSV's data, or the service, which is asked package by package.

A local copy is what OSV publishes for each ecosystem (`all.zip`), a folder of its documents, or one document or
a list of them. Source: google/osv.dev, "Data dumps".
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.documents import read_json

#: Larger documents are no advisories.
_MOST_DOCUMENT = 16 << 20


def local_advisories(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read all advisories of a local copy.

    Raises:
        InputError: `bad-advisories`, it cannot be read, or holds none.
    """
    found = False
    for name, data in _documents(path):
        try:
            document = read_json(data)
        except ValueError as error:
            raise InputError("bad-advisories", f"`{path}`: `{name}` is no JSON: {error}") from error
        for each in document if isinstance(document, list) else [document]:
            if not isinstance(each, dict) or "id" not in each:
                raise InputError("bad-advisories", f"`{path}`: `{name}` holds what is no advisory of OSV's form")
            found = True
            yield each
    if not found:
        raise InputError(
            "bad-advisories",
            f"`{path}` holds no advisories",
            hint="name a folder of OSV's documents, or the archive that OSV publishes for an ecosystem",
        )


def _documents(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        if path.is_dir():
            for each in sorted(path.rglob("*.json")):
                yield str(each.relative_to(path)), each.read_bytes()
        elif zipfile.is_zipfile(path):
            yield from _of_archive(path)
        else:
            yield path.name, path.read_bytes()
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError("bad-advisories", f"cannot read the advisories `{path}`: {error}") from error


def _of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".json"):
                continue
            if member.file_size > _MOST_DOCUMENT:
                raise InputError(
                    "bad-advisories", f"`{path}`: `{member.filename}` would have {member.file_size} bytes"
                )
            yield member.filename, archive.read(member)
