"""Holds what requirement lines ask of versions against the packages of a runtime. Pure functions over values.

A pin is, against the version that the runtime has,

    same        the line asks for one version, and the runtime has that one, as `==` of PEP 440 says: a local label
                that the line does not name does not count, so that `torch==2.3.1` is the same as `2.3.1+cpu`
    compatible  the line's own specifier accepts the version; or the line asks for one version, and the runtime
                has another of the same release line: the first two numbers are equal (`1.23.5` and `1.23.1`),
                and neither is a pre-release
    changed     the runtime has another version
    missing     the runtime's list has no such package

A version that is not PEP 440 (`0.2.5.db1`) is the same as the same text only; for ranges and release lines it
counts as the numbers that it begins with. Of conda packages versions are compared, not builds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.version_pins import Pin, read_conda, read_pip

Agreement = Literal["same", "compatible", "changed", "missing"]
AGREEMENTS: tuple[Agreement, ...] = ("same", "compatible", "changed", "missing")

# What installs an environment is not part of what it was solved for: MLflow names `pip` in every conda.yaml.
_INSTALLERS = frozenset({"pip", "python"})
_LEADING = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPin:
    """One pin, and what the runtime has in its place."""

    pin: Pin
    found: str | None
    """The runtime's version."""
    agreement: Agreement

    @property
    def satisfied(self) -> bool:
        """Whether the line itself accepts the runtime's version."""
        return self.agreement == "same" or (self.found is not None and _accepts(self.pin, self.found))

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "package": self.pin.name,
            "manager": self.pin.manager,
            "wanted": self.pin.wanted,
            "runtime": self.found,
            "agreement": self.agreement,
            "origin": self.pin.origin,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All pins of an environment against one runtime."""

    pins: tuple[ComparedPin, ...]
    """In the order of their names."""
    unread: tuple[Requirement, ...] = ()
    """Lines that name no distribution, such as a path to a source tree."""

    @property
    def counts(self) -> dict[Agreement, int]:
        """How many pins agree in which way."""
        counted = Counter(each.agreement for each in self.pins)
        return {agreement: counted[agreement] for agreement in AGREEMENTS}

    @property
    def score(self) -> tuple[int, int]:
        """How well it agrees, to be compared: pins that are same or compatible, and of these the same."""
        counts = self.counts
        return counts["same"] + counts["compatible"], counts["same"]

    def beyond(self, required: Literal["same", "compatible"]) -> tuple[ComparedPin, ...]:
        """Return the pins that do not agree as is required."""
        allowed = AGREEMENTS[: AGREEMENTS.index(required) + 1]
        return tuple(each for each in self.pins if each.agreement not in allowed)


def compare(
    conda: Iterable[Requirement],
    pip: Iterable[Requirement],
    python: str,
    packages: Mapping[str, str],
    conda_packages: Mapping[str, str] | None = None,
    *,
    constraints: Iterable[Requirement] = (),
) -> Comparison:
    """Hold requirement lines against the packages of a runtime.

    Args:
        conda: Match specifications.
        pip: Lines of requirements files.
        python: The runtime's version of Python, which markers ask for.
        packages: The runtime's Python packages, versions by normalised name.
        conda_packages: The runtime's conda packages by their names, where it is made of conda.
        constraints: Lines of constraint files: they count for what other lines require.
    """
    read = _Reading(python)
    pins = [*read.conda(conda), *read.pip(pip)]
    required = {pin.name for pin in pins}
    pins += [pin for pin in _Reading(python).pip(constraints) if pin.name in required]
    found: dict[tuple[str, str, str], ComparedPin] = {}
    for pin in pins:
        version = (conda_packages or {}).get(pin.conda_name or "") or packages.get(pin.name)
        compared = ComparedPin(pin=pin, found=version, agreement=agreement(pin, version))
        found.setdefault((pin.name, pin.manager, pin.wanted), compared)
    return Comparison(pins=tuple(found[key] for key in sorted(found)), unread=tuple(read.unread))


class _Reading:
    """Reads lines, and keeps those that name no distribution."""

    def __init__(self, python: str) -> None:
        self._python = python
        self.unread: list[Requirement] = []

    def conda(self, lines: Iterable[Requirement]) -> list[Pin]:
        return self._read(lines, read_conda)

    def pip(self, lines: Iterable[Requirement]) -> list[Pin]:
        return self._read(lines, lambda line: read_pip(line, self._python))

    def _read(self, lines: Iterable[Requirement], reader: Callable[[Requirement], Pin | None]) -> list[Pin]:
        pins = []
        for line in lines:
            try:
                pin = reader(line)
            except ValueError:
                self.unread.append(line)
                continue
            if pin is not None and pin.name not in _INSTALLERS:
                pins.append(pin)
        return pins


def agreement(pin: Pin, found: str | None) -> Agreement:
    """Say how a pin agrees with a version; see the module's head."""
    if found is None:
        return "missing"
    if pin.exact is not None and _equal(pin.exact, found):
        return "same"
    if _accepts(pin, found) or (pin.exact is not None and _same_line(pin.exact, found)):
        return "compatible"
    return "changed"


def _equal(wanted: str, found: str) -> bool:
    if wanted == found:
        return True
    try:
        return SpecifierSet(f"=={wanted}").contains(Version(found), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False


def _accepts(pin: Pin, found: str) -> bool:
    version = _version(found)
    return version is not None and any(each.contains(version, prereleases=True) for each in pin.accepted)


def _same_line(wanted: str, found: str) -> bool:
    one, other = _version(wanted), _version(found)
    if one is None or other is None or one.is_prerelease or other.is_prerelease:
        return False
    return (one.epoch, one.major, one.minor) == (other.epoch, other.major, other.minor)


def _version(text: str) -> Version | None:
    """Return a version of PEP 440; of another, the numbers that it begins with."""
    try:
        return Version(text)
    except InvalidVersion:
        leading = _LEADING.match(text)
        return Version(leading.group()) if leading else None
