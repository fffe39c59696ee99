"""Which packages of a bill of materials have known vulnerabilities.

Advisories are those of the Open Source Vulnerability format: one document an advisory, with the packages that it
affects, by ecosystem, and the versions of each as a list or as ranges.

Source: ossf/osv-schema 1.6, "affected", "Evaluation" and "severity".
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name

from mlflow_dbimage.evidence.bill_of_materials import Package

_INTRODUCED, _FIXED, _LAST = "introduced", "fixed", "last_affected"
_EVERYTHING = "0"
#: What comes of a document that is not of OSV's form.
_UNREADABLE = (KeyError, TypeError, AttributeError, ValueError, RecursionError)


class Severity(enum.IntEnum):
    """How bad a vulnerability is, as CVSS rates it; what nobody has rated counts as bad."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4
    UNKNOWN = 5

    @classmethod
    def named(cls, text: str) -> Severity:
        """Return the severity of a word; GitHub's `moderate` is medium. Unknown for any other word."""
        word = text.strip().upper()
        return cls.__members__.get("MEDIUM" if word == "MODERATE" else word, cls.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vulnerability:
    """A package that an advisory is about."""

    package: Package
    advisory: str
    """Its identifier: `GHSA-...`, `PYSEC-...`, `DSA-...`."""
    aliases: tuple[str, ...]
    """What others call it: `CVE-...`."""
    severity: Severity
    summary: str
    fixed_in: tuple[str, ...]
    """Versions that have it no more."""


_ByName = Mapping[tuple[str, str], Sequence[tuple[Package, str]]]
"""Packages with their versions as advisories call them, by ecosystem and name."""


def find(packages: Sequence[Package], advisories: Iterable[Mapping[str, Any]]) -> tuple[Vulnerability, ...]:
    """Return which of the packages some advisories are about, worst first.

    An advisory that others have withdrawn, or that cannot be read, is passed over.

    Args:
        packages: Of a bill of materials.
        advisories: In OSV's form.
    """
    by_name: dict[tuple[str, str], list[tuple[Package, str]]] = {}
    for package in packages:
        name, version = _known_as(package)
        for ecosystem in _ecosystems(package):
            by_name.setdefault((ecosystem, name), []).append((package, version))
    found = [each for advisory in advisories for each in _of_advisory(advisory, by_name)]
    return tuple(sorted(found, key=lambda each: (-each.severity, each.package.name, each.advisory)))


def _of_advisory(advisory: Mapping[str, Any], by_name: _ByName) -> tuple[Vulnerability, ...]:
    try:
        return () if advisory.get("withdrawn") else tuple(_vulnerabilities(advisory, by_name))
    except _UNREADABLE:
        return ()


def _vulnerabilities(advisory: Mapping[str, Any], by_name: _ByName) -> Iterable[Vulnerability]:
    seen: set[str] = set()
    for affected in advisory.get("affected") or ():
        for package in _affected_by(affected, by_name):
            if package.purl not in seen:
                seen.add(package.purl)
                yield Vulnerability(
                    package=package,
                    advisory=str(advisory.get("id", "")),
                    aliases=tuple(map(str, advisory.get("aliases") or ())),
                    severity=severity_of(advisory),
                    summary=_summary(advisory),
                    fixed_in=_fixes(affected),
                )


def _affected_by(affected: Mapping[str, Any], by_name: _ByName) -> tuple[Package, ...]:
    """Return the packages that one entry of an advisory is about; none of an entry that cannot be read."""
    try:
        named = affected.get("package") or {}
        ecosystem, name = str(named.get("ecosystem", "")), str(named.get("name", ""))
        known = by_name.get((ecosystem, name), ())
        return tuple(package for package, version in known if _is_affected(version, affected, ecosystem))
    except _UNREADABLE:
        return ()


def _ecosystems(package: Package) -> tuple[str, ...]:
    """Return what OSV calls the places that a package may come from; conda's Python packages are those of PyPI."""
    if package.manager in ("pip", "conda"):
        return ("PyPI",)
    system, _, release = _qualifier(package, "distro").partition("-")
    if system == "debian":
        return (f"Debian:{release}", "Debian")
    return (f"Ubuntu:{release}:LTS", f"Ubuntu:{release}", f"Ubuntu:Pro:{release}:LTS")


def _known_as(package: Package) -> tuple[str, str]:
    """Return name and version by which advisories speak of a package: for Debian's, those of its source."""
    if package.manager != "system":
        return canonicalize_name(package.name), package.version
    name, _, version = _qualifier(package, "upstream").partition("@")
    return name or package.name, version or package.version


def _qualifier(package: Package, name: str) -> str:
    qualifiers = PackageURL.from_string(package.purl).qualifiers
    return str(qualifiers.get(name) or "") if isinstance(qualifiers, dict) else ""


def _is_affected(version: str, affected: Mapping[str, Any], ecosystem: str) -> bool:
    if version in (affected.get("versions") or ()):
        return True
    ranges = [each for each in affected.get("ranges") or () if each.get("type") in ("ECOSYSTEM", "SEMVER")]
    return any(_in_range(version, each.get("events") or (), ecosystem) for each in ranges)


def _in_range(version: str, events: Iterable[Mapping[str, str]], ecosystem: str) -> bool:
    """Follow the events of a range in the order of their versions, as OSV's schema evaluates them."""
    order = _order(ecosystem)
    wanted = order(version)
    if wanted is None:
        return False
    steps: list[tuple[Any, int, str]] = []
    for event in events:
        for kind in (_INTRODUCED, _FIXED, _LAST):
            place = order(event[kind]) if kind in event and event[kind] != _EVERYTHING else None
            if kind in event and (place is not None or event[kind] == _EVERYTHING):
                steps.append((place, 0 if kind == _INTRODUCED else 1, kind))
    inside = False
    first = [step for step in steps if step[0] is None]
    rest = sorted((step for step in steps if step[0] is not None), key=lambda step: (step[0], step[1]))
    for place, _, kind in (*first, *rest):
        if place is None or (kind == _INTRODUCED and wanted >= place):
            inside = True
        elif (kind == _FIXED and wanted >= place) or (kind == _LAST and wanted > place):
            inside = False
    return inside


def _order(ecosystem: str) -> Any:
    """Return a function that gives versions an order, and None for what is no version there."""
    from univers.versions import DebianVersion, InvalidVersion, PypiVersion

    kind = PypiVersion if ecosystem == "PyPI" else DebianVersion

    def ordered(text: str) -> Any:
        try:
            return kind(text)
        except (InvalidVersion, ValueError):
            return None

    return ordered


def severity_of(advisory: Mapping[str, Any]) -> Severity:
    """Return how bad an advisory says that it is: in its database's own word, else by its CVSS vector."""
    word = str((advisory.get("database_specific") or {}).get("severity") or "")
    if word and Severity.named(word) is not Severity.UNKNOWN:
        return Severity.named(word)
    rated = [_rated(each) for each in advisory.get("severity") or ()]
    known = [each for each in rated if each is not Severity.UNKNOWN]
    return max(known) if known else Severity.UNKNOWN


def _rated(severity: Mapping[str, str]) -> Severity:
    from cvss import CVSS2, CVSS3, CVSS4
    from cvss.exceptions import CVSSError

    kinds = {"CVSS_V2": CVSS2, "CVSS_V3": CVSS3, "CVSS_V4": CVSS4}
    try:
        return Severity.named(kinds[severity["type"]](severity["score"]).severities()[0])
    except (CVSSError, *_UNREADABLE):
        return Severity.UNKNOWN


def _summary(advisory: Mapping[str, Any]) -> str:
    text = str(advisory.get("summary") or advisory.get("details") or "").strip()
    return text.splitlines()[0][:200] if text else ""


def _fixes(affected: Mapping[str, Any]) -> tuple[str, ...]:
    ranges = [each for each in affected.get("ranges") or () if each.get("type") != "GIT"]
    events = [event for each in ranges for event in each.get("events") or ()]
    return tuple(dict.fromkeys(str(event[_FIXED]) for event in events if _FIXED in event))
