"""Wheels of exactly the versions that a list names, without what they depend on; and what comes nearest.

A resolver tells the first problem alone. Without dependencies every line stands for itself, so that halving the
lines finds all that an index lacks, whatever words the resolver has for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from packaging.version import InvalidVersion, Version

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import DbimageError, InputError, MatchError
from mlflow_dbimage.locking import wheel_choice
from mlflow_dbimage.locking.environment_solver import PipRequest, Solver
from mlflow_dbimage.locking.exact_packages import Drift, distance
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.locking.package_owners import ResolvedDistribution
from mlflow_dbimage.locking.pip_part import locked_wheel
from mlflow_dbimage.package_list import PipPin
from mlflow_dbimage.progress import Progress

_AT_ONCE = 4
_RELEASE = re.compile(r"\d+(?:\.\d+)*")

_REASONS = {
    "package-not-found": "no index has that version",
    "wrong-platform": "no wheel is for that Python, platform and glibc",
}
_NOT_BUILT = "it has no wheel, and cannot be built from source"
_NO_VERSION = "no index can have that version: it is a private one"

Failed = tuple[PipPin, str]
Taken = tuple[ResolvedDistribution, LockedWheel]


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelChoice:
    """The wheels that are taken; none is fetched yet but those that were built."""

    taken: tuple[Taken, ...]
    """In the order of their names."""
    drift: tuple[Drift, ...]


def choose(pins: Sequence[PipPin], request: PipRequest, solver: Solver, progress: Progress) -> WheelChoice:
    """Take each distribution as it is listed, else the nearest that has a wheel.

    Raises:
        ServiceError: `index-failed`, `offline`, `program-failed`.
        VerificationError: `digest-mismatch`.
    """
    known = [pin for pin in pins if _is_version(pin.version)]
    failed: list[Failed] = [(pin, _NO_VERSION) for pin in pins if pin not in known]
    with progress.step("finding wheels") as step:
        found = _found(known, replace(request, alone=True), solver, failed)
        step.note(f"{len(found)} of {len(pins)}")
    taken = _wheels(found, request, solver, progress, failed)
    with progress.step("looking for the nearest") as step, ThreadPoolExecutor(_AT_ONCE) as pool:
        step.note(f"of {len(failed)} packages")
        near = list(pool.map(lambda each: _nearest(each[0], request, solver), failed))
    drift = [
        Drift(
            wanted=str(pin),
            reason=reason,
            taken=None if instead is None else f"{instead[1].name}=={instead[1].version}",
        )
        for (pin, reason), instead in zip(failed, near, strict=True)
    ]
    return WheelChoice(
        taken=tuple(sorted([*taken, *filter(None, near)], key=lambda each: each[1].name)),
        drift=tuple(sorted(drift, key=lambda each: each.wanted)),
    )


def _found(
    pins: Sequence[PipPin], request: PipRequest, solver: Solver, failed: list[Failed]
) -> list[tuple[PipPin, ResolvedDistribution]]:
    """Find the distributions of some lines; those that cannot be had go to `failed`."""
    if not pins:
        return []
    try:
        answer = solver.pip.resolve(replace(request, lines=tuple(map(_line, pins))))
    except (MatchError, InputError) as error:
        if len(pins) == 1:
            failed.append((pins[0], _reason(error)))
            return []
        middle = len(pins) // 2
        halves = (pins[:middle], pins[middle:])
        return [found for half in halves for found in _found(half, request, solver, failed)]
    by_name = {each.name: each for each in answer.distributions}
    return [(pin, by_name[pin.name]) for pin in pins if pin.name in by_name]


def _wheels(
    found: Sequence[tuple[PipPin, ResolvedDistribution]],
    request: PipRequest,
    solver: Solver,
    progress: Progress,
    failed: list[Failed],
) -> list[Taken]:
    """Choose a wheel for each, or build one; what has none goes to `failed`."""
    taken: list[Taken] = []
    to_build: list[tuple[PipPin, ResolvedDistribution]] = []
    for pin, distribution in found:
        wheel = _ready(distribution, request)
        if wheel is not None:
            taken.append((distribution, wheel))
        elif distribution.source is not None and request.interpreter is not None:
            to_build.append((pin, distribution))
        else:
            failed.append((pin, _REASONS["wrong-platform"]))
    if to_build:
        with progress.step("building wheels from source") as step, ThreadPoolExecutor(_AT_ONCE) as pool:
            step.total(len(to_build))
            built = pool.map(lambda each: _built(each[1], request, solver), to_build)
            for (pin, distribution), wheel in zip(to_build, built, strict=True):
                step.advance()
                if wheel is None:
                    failed.append((pin, _NOT_BUILT))
                else:
                    taken.append((distribution, wheel))
    return taken


def _ready(distribution: ResolvedDistribution, request: PipRequest) -> LockedWheel | None:
    tags = wheel_choice.tags(request.python_minor, request.glibc, request.platform)
    chosen = wheel_choice.choose(distribution.wheels, tags)
    return None if chosen is None else locked_wheel(distribution, chosen)


def _built(distribution: ResolvedDistribution, request: PipRequest, solver: Solver) -> LockedWheel | None:
    assert distribution.source is not None
    try:
        return solver.pip.build(distribution.source, request)
    except MatchError:
        return None


def _nearest(pin: PipPin, request: PipRequest, solver: Solver) -> Taken | None:
    """Return the next version that has a wheel: the newer or the older one, whichever is closer."""
    release = _RELEASE.match(pin.version)
    if release is None:
        return None
    ready = replace(request, alone=True, interpreter=None)
    newer = replace(ready, lines=(_line(pin, f">={release.group()}"),), oldest=True)
    older = replace(ready, lines=(_line(pin, f"<{release.group()}"),))
    candidates: list[Taken] = []
    for each in (newer, older):
        with suppress(MatchError, InputError):
            for distribution in solver.pip.resolve(each).distributions:
                wheel = _ready(distribution, request)
                candidates += [(distribution, wheel)] if wheel is not None else []
    return min(candidates, key=lambda each: distance(pin.version, each[1].version), default=None)


def _line(pin: PipPin, specifier: str | None = None) -> Requirement:
    return Requirement(text=f"{pin.name}{specifier or f'=={pin.version}'}", origin=str(pin))


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _reason(error: DbimageError) -> str:
    if error.code == "unsolvable" and "build" in error.message:
        return _NOT_BUILT
    return _REASONS.get(error.code, "no index has that version")
