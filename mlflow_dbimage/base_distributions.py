"""Distributions that a base image has installed, read from the metadata in its root.

Sources: "Recording installed projects" and "Core metadata" of the PyPA specifications; setuptools' documentation,
"Egg formats", for what Debian's packages have.
"""

from __future__ import annotations

import base64
import binascii
import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from typing import Any

from packaging.utils import canonicalize_name

from mlflow_dbimage.oci.root_listing import RootListing

_TEXTS = re.compile(
    r"(?:.*/)?lib/python3(?:\.\d+)?/(?:site|dist)-packages/[^/]+\."
    r"(?:dist-info/(?:METADATA|RECORD)|egg-info(?:/(?:PKG-INFO|requires\.txt|installed-files\.txt))?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseDistribution:
    """A distribution that the base has."""

    name: str
    """Normalised."""
    version: str
    own: bool
    """Whether it is the virtual environment's, and not mixed in from the system."""
    requires: tuple[str, ...] = ()
    """What its metadata requires, as written."""
    extras: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """What is there of what it recorded, and its metadata, by path in the image; the sha256 as 64 hexadecimal
    digits, or nothing where it recorded none. Only of the virtual environment's own."""
    compiled: bool = False
    """Whether it recorded extension modules."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BaseDistribution:
        """Read its JSON form: what `dataclasses.asdict` gives."""
        lists = {key: tuple(data[key]) for key in ("requires", "extras")}
        return cls(**{**data, **lists})


def is_metadata(path: str) -> bool:
    """Whether `read_distributions` needs the text of a path."""
    return _TEXTS.fullmatch(path) is not None


def read_distributions(
    listing: RootListing, folder: str, paths: frozenset[str] | None = None
) -> Iterator[BaseDistribution]:
    """Yield the distributions of a folder of packages.

    Args:
        listing: The root, with the texts that `is_metadata` names.
        folder: Its path.
        paths: All that the virtual environment has, where the folder is its own; None for one of the system,
            whose files are not of interest.
    """
    for name in listing.names(folder):
        place = f"{folder}/{name}"
        metadata = _metadata(listing, place)
        if metadata is None:
            continue
        headers = HeaderParser().parsestr(metadata)
        if not headers["Name"] or not headers["Version"]:
            continue
        recorded = dict(_recorded(listing, folder, place))
        required = headers.get_all("Requires-Dist") or _egg_requires(listing.text(f"{place}/requires.txt"))
        yield BaseDistribution(
            name=canonicalize_name(headers["Name"]),
            version=headers["Version"].strip(),
            own=paths is not None,
            requires=tuple(required),
            extras=tuple(headers.get_all("Provides-Extra") or ()),
            files={} if paths is None else dict(sorted(_files(listing, place, recorded, paths))),
            compiled=any(path.endswith(".so") for path in recorded),
        )


def _metadata(listing: RootListing, place: str) -> str | None:
    if place.endswith(".dist-info"):
        return listing.text(f"{place}/METADATA")
    if place.endswith(".egg-info"):
        return listing.text(f"{place}/PKG-INFO") or listing.text(place)
    return None


def _egg_requires(text: str | None) -> list[str]:
    """Return what an egg requires without an extra: the lines before the first section of `requires.txt`."""
    lines = (text or "").partition("[")[0].splitlines()
    return [line.strip() for line in lines if line.strip()]


def _files(
    listing: RootListing, place: str, recorded: Mapping[str, str], paths: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Yield what a distribution has on disk: what it recorded, its byte code, and its metadata."""
    yield from ((path, sha256) for path, sha256 in recorded.items() if path in paths)
    yield from ((path, "") for path in _below(listing, place) if path in paths and path not in recorded)
    for source in recorded:
        if source.endswith(".py"):
            parent, _, name = source.rpartition("/")
            stem = f"{name.removesuffix('.py')}."
            bytecode = (f"{parent}/__pycache__/{each}" for each in listing.names(f"{parent}/__pycache__"))
            start = f"{parent}/__pycache__/{stem}"
            yield from ((path, "") for path in bytecode if path.startswith(start) and path not in recorded)


def _below(listing: RootListing, place: str) -> Iterator[str]:
    """Yield a path and all that lie below it, however deep."""
    left = [place]
    while left:
        path = left.pop()
        yield path
        left += [f"{path}/{name}" for name in listing.names(path)]


def _recorded(listing: RootListing, folder: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield the paths that RECORD, or an egg's list, names, with their sha256."""
    if place.endswith(".dist-info"):
        rows = _rows(listing.text(f"{place}/RECORD") or "")
        named = [(row[0], row[1] if len(row) > 1 else "") for row in rows if row]
    else:
        folder = place
        lines = (listing.text(f"{place}/installed-files.txt") or "").splitlines()
        named = [(line.strip(), "") for line in lines if line.strip()]
    for path, text in named:
        yield _normal(path if path.startswith("/") else f"{folder}/{path}"), _sha256(text)


def _rows(text: str) -> list[list[str]]:
    """Read a RECORD; one that is none records nothing."""
    try:
        return list(csv.reader(text.splitlines()))
    except csv.Error:
        return []


def _sha256(text: str) -> str:
    algorithm, _, value = text.partition("=")
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex() if algorithm == "sha256" else ""
    except (binascii.Error, ValueError):
        return ""


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
