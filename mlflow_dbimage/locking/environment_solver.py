"""How an environment is solved: the wishes, and the protocols of what solves, fetches, builds and installs.

`locked_env` drives them; `backends` implements them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mlflow_dbimage.base_distributions import BaseDistribution
from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.locking.exact_packages import CondaOffer
from mlflow_dbimage.locking.locked_packages import (
    CondaPackage,
    Decision,
    KeptPackages,
    LockedWheel,
    WheelSource,
)
from mlflow_dbimage.locking.package_owners import ResolvedDistribution, WheelContents
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.progress import Progress

#: Where a model names no channel, and what its `defaults` are not.
DEFAULT_CHANNELS = ("conda-forge",)

#: conda's names of the platforms that images can have.
CONDA_PLATFORMS: Mapping[str, str] = {
    "linux/amd64": "linux-64",
    "linux/arm64": "linux-aarch64",
    "linux/ppc64le": "linux-ppc64le",
    "linux/s390x": "linux-s390x",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentOptions:
    """What the request, the configuration and the base image say of how to solve."""

    platform: Platform
    glibc: str
    """Of the base image: `2.36`."""
    channel_map: Mapping[str, str] = field(default_factory=dict)
    """By channel name, where it is found: a mirror's URL."""
    channels: tuple[str, ...] | None = None
    """Channels to use instead of the model's."""
    index_url: str | None = None
    """The package index; may hold credentials. None: as uv is configured."""
    extra_index_urls: tuple[str, ...] = ()
    exclude_newer: datetime | None = None
    """Nothing newer is taken. None: the end of the day on which the model was logged."""
    offline: bool = False
    kept: KeptPackages | None = None
    """What the base has already, and stays unless the model asks for others."""
    local_version_indexes: Mapping[str, str] = field(default_factory=dict)
    """By local version label (`+cu117`), the index that has such versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexAccess:
    """How package indexes and the model's own files are reached."""

    directory: Path | None = None
    """The model's; None where all that the model brings is kept already."""
    index_url: str | None = None
    """May hold credentials."""
    extra_index_urls: tuple[str, ...] = ()
    line_urls: tuple[str, ...] = ()
    """Those that the model's own pip lines name."""
    local_version_indexes: Mapping[str, str] = field(default_factory=dict)
    """By local version label (`+cu117`), the index that has such versions."""
    offline: bool = False

    @property
    def index_urls(self) -> tuple[str, ...]:
        """All that are named."""
        further = (*self.line_urls, *self.local_version_indexes.values())
        return tuple(url for url in (self.index_url, *self.extra_index_urls, *further) if url)


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaRequest:
    """What the conda solver is asked."""

    python: str
    """`3.11.7` or `3.11`."""
    requirements: tuple[Requirement, ...]
    channels: tuple[str, ...]
    channel_map: Mapping[str, str]
    platform: str
    """conda's name: `linux-64`."""
    glibc: str
    exclude_newer: datetime | None
    offline: bool
    kept: tuple[CondaPackage, ...] = ()
    """What the base has: preferred where something asks for it, and else left as it is."""
    kept_python: str | None = None
    """The base's, with patch, where it has the minor version that is wanted."""
    kept_installers: Mapping[str, str] = field(default_factory=dict)
    """By name, the version of pip and the like that the base has as wheels: they meet requirements for conda's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaSolution:
    """What the conda solver answers."""

    packages: tuple[CondaPackage, ...]
    """With what is kept of the base."""
    notes: tuple[str, ...] = ()


class CondaBackend(Protocol):
    """Solves, fetches and installs conda packages."""

    identity: str
    """Name and version of the program, for cache keys."""

    def solve(self, request: CondaRequest) -> CondaSolution:
        """Return a set of packages.

        Raises:
            MatchError: `unsolvable`, `package-not-found`.
            ServiceError: `channel-failed`, `offline`.
        """

    def install(
        self,
        packages: Sequence[CondaPackage],
        prefix: Path,
        platform: str,
        *,
        offline: bool,
        progress: Progress,
        image_prefix: str | None = None,
    ) -> tuple[Decision, ...]:
        """Install packages into a new prefix, and return which of them kept each path that two bring.

        Files name `image_prefix` where it is given, so that they are the same wherever they are installed; the
        environment's Python finds its home by its own place, and runs all the same.

        Raises:
            ServiceError: `channel-failed`, `offline`, `disk-failed`.
            VerificationError: `digest-mismatch`.
        """

    def offers(self, request: CondaRequest, names: Sequence[str]) -> Sequence[CondaOffer]:
        """Return all packages of some names, those of the first channel first, and which cannot be used.

        Raises:
            ServiceError: `channel-failed`, `offline`.
        """

    def validators(self, request: CondaRequest) -> Mapping[str, str]:
        """Return what is known of the channels' contents without asking them, by channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipRequest:
    """What the pip resolver is asked."""

    access: IndexAccess
    lines: tuple[Requirement, ...] = ()
    """Their paths are relative to the model's directory."""
    python: str
    """With patch."""
    interpreter: Path | None
    """That builds source distributions; None where the target cannot run here, and nothing is built."""
    platform: Platform
    glibc: str
    constraints: Mapping[str, str] = field(default_factory=dict)
    """By name, what the conda part holds."""
    preferred: Mapping[str, str] = field(default_factory=dict)
    """By name, the version to take unless something else is asked, whenever it was published."""
    present: tuple[BaseDistribution, ...] = ()
    """What a base has: kept where it satisfies, whether or not an index has it."""
    left_out: tuple[str, ...] = ()
    """Names that are resolved to nothing, whatever requires them."""
    exclude_newer: datetime | None = None
    alone: bool = False
    """Whether the lines are taken alone, without what they depend on."""
    oldest: bool = False
    """Whether the oldest version is taken that a line allows, in the place of the newest."""

    @property
    def python_minor(self) -> str:
        """The Python without its patch: `3.11`."""
        return ".".join(self.python.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSolution:
    """What the pip resolver answers."""

    distributions: tuple[ResolvedDistribution, ...]
    notes: tuple[str, ...] = ()


class PipBackend(Protocol):
    """Resolves pip lines and builds wheels."""

    identity: str
    """Name and version of the program, for cache keys."""

    def resolve(self, request: PipRequest) -> PipSolution:
        """Return one version of each distribution, with its files.

        Raises:
            MatchError: `unsolvable`, `package-not-found`, `wrong-platform`.
            ServiceError: `index-failed`, `offline`, `program-failed`.
            InputError: `model-environment-invalid`, `model-unsafe`.
        """

    def build(self, source: WheelSource, request: PipRequest) -> LockedWheel:
        """Build a wheel, or find the one that was built before, and keep it where wheels are kept.

        Raises:
            MatchError: `unsolvable`, it cannot be built.
            ServiceError: `index-failed`, `offline`, `program-failed`.
            VerificationError: `digest-mismatch`.
        """


class WheelBackend(Protocol):
    """Fetches, reads and installs wheels."""

    def has(self, wheel: LockedWheel) -> bool:
        """Whether the wheel is kept here, intact."""

    def fetch(
        self, wheels: Sequence[LockedWheel], access: IndexAccess, progress: Progress
    ) -> tuple[LockedWheel, ...]:
        """Fetch what is not kept yet, and return the wheels with hash and size.

        Raises:
            ServiceError: `index-failed`, `offline`, `disk-failed`.
            VerificationError: `digest-mismatch`.
            InputError: `model-unsafe`, a wheel's path leaves the model.
        """

    def contents(self, wheel: LockedWheel, python_minor: str) -> WheelContents:
        """Return where each file of a fetched wheel is installed, and what the wheel needs.

        Raises:
            InputError: `model-unsafe`, the wheel would write outside the environment, or is malformed.
        """

    def install(
        self,
        wheels: Sequence[LockedWheel],
        prefix: Path,
        image_prefix: str,
        python_minor: str,
        progress: Progress,
    ) -> None:
        """Install fetched wheels, with scripts that name the Python of `image_prefix`.

        Raises:
            InputError: `model-unsafe`.
            ServiceError: `disk-failed`.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """The three backends, and a folder for work under way on the file system of their caches."""

    conda: CondaBackend
    pip: PipBackend
    wheels: WheelBackend
    work: Path
