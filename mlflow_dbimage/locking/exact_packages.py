"""Packages taken exactly as a list names them; what cannot be had, and what comes nearest to it.

Nothing is resolved: a list of what somebody has need not be closed under its dependencies, and a solver would
change it. Pure functions over what channels offer; `exact_wheels` does the same for a package index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.package_list import CondaPin

_PYTHON_BUILD = re.compile(r"py\d+")
_FAR = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaOffer:
    """A package that a channel has."""

    package: CondaPackage
    unfit: str | None = None
    """Why it cannot be in the environment: it wants another Python or a newer glibc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A package that is not as it was listed."""

    wanted: str
    """As listed: `numpy=1.18.1=py37h4f9e942_0`, `hyperopt==0.2.5.db1`."""
    reason: str
    taken: str | None
    """What is there in its place; None where nothing comes near."""

    def __str__(self) -> str:
        instead = f"{self.taken} is the nearest" if self.taken else "nothing comes near"
        return f"{self.wanted}: {self.reason}; {instead}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaChoice:
    """The packages that are taken."""

    packages: tuple[CondaPackage, ...]
    """In the order of their names."""
    drift: tuple[Drift, ...]
    notes: tuple[str, ...] = ()
    """What people should know besides."""


def choose(pins: Sequence[CondaPin], offers: Iterable[CondaOffer]) -> CondaChoice:
    """Take each package as it is listed, else the nearest that fits.

    Args:
        pins: The list.
        offers: What channels have under those names, those of the first channel first.
    """
    by_name: dict[str, list[CondaOffer]] = {}
    for offer in offers:
        by_name.setdefault(offer.package.name, []).append(offer)
    packages: list[CondaPackage] = []
    drift: list[Drift] = []
    for pin in pins:
        taken, reason = _taken(pin, by_name.get(pin.name, ()))
        if taken is not None:
            packages.append(taken)
        if reason is not None:
            drift.append(Drift(wanted=str(pin), reason=reason, taken=None if taken is None else _title(taken)))
    return CondaChoice(packages=tuple(sorted(packages, key=lambda each: each.name)), drift=tuple(drift))


def distance(wanted: str, other: str) -> tuple[int, int, int, tuple[int, ...]]:
    """Return how far a version is from another, to sort by: the fewer leading numbers they share, the farther.

    Of two that share as many, the one whose next number is nearer comes first, then the newer one.
    """
    ours, theirs = numbers(wanted), numbers(other)
    width = max(len(ours), len(theirs))
    one, two = (tuple(each) + (0,) * (width - len(each)) for each in (ours, theirs))
    common = next((at for at in range(width) if one[at] != two[at]), None)
    if common is None:
        return (-_FAR, 0, 0, ())
    step = two[common] - one[common]
    rest = two[common + 1 :]
    return (-common, abs(step), int(step < 0), rest if step >= 0 else tuple(_FAR - each for each in rest))


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version without zeros at its end; the epoch and the local part do not count."""
    public = version.partition("+")[0].rpartition("!")[2]
    found = [int(digits) for digits in re.findall(r"\d+", public)]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def _taken(pin: CondaPin, offers: Sequence[CondaOffer]) -> tuple[CondaPackage | None, str | None]:
    """Return the package to take, and why it is another one than the list names."""
    if not offers:
        return None, "no channel has a package of that name"
    same_version = [each for each in offers if each.package.version == pin.version]
    exact = [each for each in same_version if pin.build in (None, each.package.build)]
    fit = [each.package for each in exact if each.unfit is None]
    if fit:
        return _best_build(pin, fit), None
    if exact:
        reason = exact[0].unfit
    else:
        reason = "no channel has that build" if same_version else "no channel has that version"
    near = [each.package for each in offers if each.unfit is None and _may_replace(pin, each.package)]
    if not near:
        return None, reason
    closest = min(distance(pin.version, each.version) for each in near)
    return _best_build(pin, [each for each in near if distance(pin.version, each.version) == closest]), reason


def _may_replace(pin: CondaPin, package: CondaPackage) -> bool:
    """Whether a package may stand in: of Python, only one of the same minor version, which all others are for."""
    return pin.name != "python" or numbers(pin.version)[:2] == numbers(package.version)[:2]


def _best_build(pin: CondaPin, packages: Sequence[CondaPackage]) -> CondaPackage:
    """Return, of builds of one version, one for the same Python as the listed, then the newest.

    Of equals the first channel's is taken, and of one package in two formats the newer format.
    """
    python = _python_of(pin.build or "")
    order = {each.canonical_url.rpartition("/")[0]: -at for at, each in reversed(list(enumerate(packages)))}

    def rank(package: CondaPackage) -> tuple[bool, int, int, str, bool]:
        same = python is None or _python_of(package.build) == python
        place = order[package.canonical_url.rpartition("/")[0]]
        return same, package.build_number, place, package.build, package.file_name.endswith(".conda")

    return max(packages, key=rank)


def _python_of(build: str) -> str | None:
    match = _PYTHON_BUILD.match(build)
    return match.group() if match else None


def _title(package: CondaPackage) -> str:
    return f"{package.name}={package.version}={package.build}"
