"""The packages of a lock, as values: conda packages, wheels and what they are built from, and who owns what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage:
    """One conda package of a lock."""

    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    """Where in its channel it is: `linux-64` or `noarch`."""
    file_name: str
    sha256: str
    """Of the archive, 64 hexadecimal digits."""
    size: int | None
    """Of the archive, in bytes."""
    channel: str
    """As the model names it (`conda-forge`), or its URL without credentials; never a mirror."""
    canonical_url: str
    """Where the package is in the channel of that name; the same through every mirror."""
    url: str
    """Where it was found, without credentials."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What else an installation records: `depends`, `noarch`, `license`, `timestamp`."""

    def without_place(self) -> CondaPackage:
        """Return the package as its channel has it, whichever mirror it was found on."""
        return replace(self, url=self.canonical_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """What a wheel is built from."""

    kind: str
    """`sdist` (an archive at a URL), `git`, or `path` (an archive or directory of the model)."""
    location: str
    """A URL without credentials, or a path relative to the model; of an `sdist` without a place, its file name."""
    sha256: str | None = None
    """Of an archive, 64 hexadecimal digits."""
    commit: str | None = None
    """Of a git repository, 40 hexadecimal digits."""
    subdirectory: str | None = None

    @property
    def file_name(self) -> str:
        """The last part of its location."""
        return self.location.rstrip("/").rsplit("/", 1)[-1]

    @property
    def has_place(self) -> bool:
        """Whether it is known where it can be had."""
        return self.kind != "sdist" or self.location != self.file_name

    def without_place(self) -> WheelSource:
        """Return the source without the URL that an index gave for it."""
        return replace(self, location=self.file_name) if self.kind == "sdist" else self

    def __str__(self) -> str:
        return f"{self.file_name} at commit {self.commit[:12]}" if self.commit else self.file_name


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One wheel of a lock."""

    name: str
    """Normalised, as PEP 503 says."""
    version: str
    file_name: str
    sha256: str
    """64 hexadecimal digits."""
    size: int | None
    """In bytes."""
    url: str | None = None
    """Where it was found, without credentials; None for a wheel of the model, one that we built, and a base's."""
    path: str | None = None
    """Of a wheel in the model, relative to its directory."""
    built_from: WheelSource | None = None
    omitted: tuple[str, ...] = ()
    """Paths relative to the prefix that another distribution owns and this one does not install."""

    @property
    def has_place(self) -> bool:
        """Whether it is known where the wheel, or what it is built from, can be had."""
        if self.built_from is not None:
            return self.built_from.has_place
        return self.url is not None or self.path is not None

    def without_place(self) -> LockedWheel:
        """Return the wheel without the URL that an index gave for it."""
        source = self.built_from
        return replace(self, url=None, built_from=None if source is None else source.without_place())


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who owns a distribution or a path that more than one package brings, and why."""

    distribution: str
    """A distribution's name, or a path (relative to the prefix) that two of them bring."""
    owner: str
    """`conda`, `pip`, or the package that keeps the path."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPackages:
    """The packages of a golden base, which an environment on top of it keeps unless the model asks for others."""

    python: str
    """With patch."""
    conda: tuple[CondaPackage, ...]
    wheels: tuple[LockedWheel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPart:
    """What a lock for the cluster's own Python leaves to the base, and what works for it."""

    kept: Mapping[str, str]
    """Version by name of the base's distributions that satisfy the model's requirements."""
    superseded: tuple[str, ...] = ()
    """Names of the base's own distributions that go, since a wheel brings the packages that they have."""
    builder: tuple[CondaPackage, ...] = ()
    """A Python of the same minor version, not in the image: it builds wheels and compiles modules."""
