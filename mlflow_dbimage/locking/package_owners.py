"""One owner for every distribution of an environment that conda and pip fill together.

A distribution that both bring is conda's where its version is what pip resolved to, and else pip's, with the
conda package left out. `path_owners` does the same for paths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlflow_dbimage.base_distributions import BaseDistribution
from mlflow_dbimage.environment_spec import Requirement as Line
from mlflow_dbimage.locking.locked_packages import CondaPackage, Decision, KeptPackages, WheelSource
from mlflow_dbimage.locking.wheel_choice import OfferedWheel

_METADATA = re.compile(
    r"lib/python3\.\d+/site-packages/[^/]+(?:\.dist-info/METADATA|\.egg-info/PKG-INFO|\.egg-info)"
)
_IN_SITE_PACKAGES = re.compile(r"lib/python3\.\d+/site-packages/.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedDistribution:
    """A distribution that pip's part resolved to, before one of its wheels is chosen."""

    name: str
    """Normalised."""
    version: str | None
    """None where only building tells."""
    wheels: tuple[OfferedWheel, ...] = ()
    source: WheelSource | None = None
    """What a wheel can be built from."""
    direct: bool = False
    """Whether the model names a URL or path for it: then no other copy will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaDistribution:
    """A Python distribution that a conda package brings."""

    name: str
    """Normalised."""
    version: str | None
    """None where the package has Python modules, but no metadata that pip could see."""
    package: str
    """The conda package's name."""
    requires: tuple[str, ...] = ()
    """What its metadata requires, as written."""
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """A file of a wheel, and where it is installed."""

    scheme: str
    path: str
    """Relative to the prefix."""
    sha256: str | None
    """64 hexadecimal digits; None for what the installation itself writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelContents:
    """What is in a wheel."""

    files: tuple[PlacedFile, ...]
    requires: frozenset[str] = frozenset()
    """Normalised names of the distributions that it needs."""
    requirements: tuple[str, ...] = ()
    """The same as the wheel has them: `numpy<2; python_version < "3.9"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledConda:
    """What the conda part of an environment has on disk."""

    distributions: Mapping[str, CondaDistribution]
    """By normalised name."""
    paths: Mapping[str, tuple[str, str | None]]
    """By path relative to the prefix, the conda package that owns it, and its sha256."""

    def without(self, packages: frozenset[str]) -> InstalledConda:
        """Return the same without some conda packages."""
        return InstalledConda(
            distributions={k: v for k, v in self.distributions.items() if v.package not in packages},
            paths={path: owner for path, owner in self.paths.items() if owner[0] not in packages},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who brings what, after it is settled."""

    conda: tuple[CondaPackage, ...]
    pip: tuple[ResolvedDistribution, ...]
    decisions: tuple[Decision, ...]
    left_out: frozenset[str]
    """Names of conda packages that pip's part replaces."""


def read_installed(prefix: Path) -> InstalledConda:
    """Read what conda packages put into a prefix, from their records and metadata."""
    distributions: dict[str, CondaDistribution] = {}
    paths: dict[str, tuple[str, str | None]] = {}
    for record_path in sorted((prefix / "conda-meta").glob("*.json")):
        record = json.loads(record_path.read_bytes())
        hashes = _hashes(record)
        paths |= {path: (record["name"], hashes.get(path)) for path in record["files"]}
        for found in _distributions(prefix, record):
            distributions.setdefault(found.name, found)
    return InstalledConda(distributions=distributions, paths=paths)


def constraints(installed: InstalledConda, lines: Sequence[Line]) -> dict[str, str]:
    """Return, by name, what holds pip's part to the versions that conda brings.

    A distribution for which pip's own lines ask another version, a URL or a path is not held: it will be
    pip's.
    """
    by_name = dict(asked(lines))
    held: dict[str, str] = {}
    for name, distribution in installed.distributions.items():
        requirement = by_name.get(name)
        if distribution.version is None or (requirement and not _allows(requirement, distribution.version)):
            continue
        held[name] = f"{name}=={distribution.version}"
    return held


def preferences(installed: InstalledConda, kept: KeptPackages | None) -> dict[str, str]:
    """Return, by name, the versions of a base that are taken unless something else is asked."""
    if kept is None:
        return {}
    of_conda = {name: each.version for name, each in installed.distributions.items() if each.version is not None}
    return {wheel.name: wheel.version for wheel in kept.wheels} | of_conda


def present(installed: InstalledConda, kept: KeptPackages | None) -> tuple[BaseDistribution, ...]:
    """Return what conda packages bring beside a base's, so that no index need have it, too."""
    brought = () if kept is None else installed.distributions.values()
    return tuple(
        BaseDistribution(
            name=each.name, version=each.version, own=True, requires=each.requires, extras=each.extras
        )
        for each in brought
        if each.version is not None
    )


def settle_distributions(
    conda: Sequence[CondaPackage], resolved: Sequence[ResolvedDistribution], installed: InstalledConda
) -> Ownership:
    """Give every distribution that both parts bring to one of them."""
    kept: list[ResolvedDistribution] = []
    decisions: list[Decision] = []
    left_out: set[str] = set()
    for distribution in sorted(resolved, key=lambda each: each.name):
        rival = installed.distributions.get(distribution.name)
        reason = None if rival is None else _why_pip(distribution, rival)
        if rival is None:
            kept.append(distribution)
        elif reason is None:
            reason = f"conda's {rival.version} satisfies pip's requirements"
            decisions.append(Decision(distribution=distribution.name, owner="conda", reason=reason))
        else:
            kept.append(distribution)
            left_out.add(rival.package)
            decisions.append(Decision(distribution=distribution.name, owner="pip", reason=reason))
    return Ownership(
        conda=tuple(package for package in conda if package.name not in left_out),
        pip=tuple(kept),
        decisions=tuple(decisions),
        left_out=frozenset(left_out),
    )


def _why_pip(distribution: ResolvedDistribution, rival: CondaDistribution) -> str | None:
    if distribution.direct:
        return "the model names a URL or path for it"
    if rival.version is None:
        return f"conda's package {rival.package} has no metadata that pip could see"
    if distribution.version is None or not _same(distribution.version, rival.version):
        return f"pip's requirements need {distribution.version}, conda's is {rival.version}"
    return None


def asked(lines: Iterable[Line]) -> Iterable[tuple[str, Requirement]]:
    """Yield the distributions that pip lines ask for by name."""
    for line in lines:
        try:
            requirement = Requirement(line.text)
        except InvalidRequirement:
            continue
        yield canonicalize_name(requirement.name), requirement


def _allows(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.url is None and requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _same(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _hashes(record: Mapping[str, Any]) -> dict[str, str]:
    paths = (record.get("paths_data") or {}).get("paths") or ()
    return {path["_path"]: path.get("sha256_in_prefix") or path["sha256"] for path in paths if path.get("sha256")}


def _distributions(prefix: Path, record: Mapping[str, Any]) -> Iterable[CondaDistribution]:
    package = record["name"]
    metadata = [path for path in record["files"] if _METADATA.fullmatch(path)]
    for path in metadata:
        if not (prefix / path).is_file():
            continue
        headers = HeaderParser().parsestr((prefix / path).read_text(encoding="utf-8", errors="replace"))
        if headers["Name"] and headers["Version"]:
            yield CondaDistribution(
                name=canonicalize_name(headers["Name"]),
                version=headers["Version"].strip(),
                package=package,
                requires=tuple(headers.get_all("Requires-Dist", [])),
                extras=tuple(headers.get_all("Provides-Extra", [])),
            )
    if not metadata and package != "python" and any(map(_IN_SITE_PACKAGES.match, record["files"])):
        yield CondaDistribution(name=canonicalize_name(package), version=None, package=package)
