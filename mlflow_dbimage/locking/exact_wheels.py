"""Wheels of exactly the versions that a list names, without what they depend on; and what comes nearest.

`pinned_distributions` finds what an index has as it is listed; here a wheel of each is chosen or built.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import InputError, MatchError
from mlflow_dbimage.locking import pinned_distributions, wheel_choice
from mlflow_dbimage.locking.environment_solver import PipRequest, Solver
from mlflow_dbimage.locking.exact_packages import Drift, distance
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.locking.package_owners import ResolvedDistribution
from mlflow_dbimage.locking.pinned_distributions import NO_WHEEL, NOT_BUILT, Failed
from mlflow_dbimage.locking.pip_part import locked_wheel
from mlflow_dbimage.package_list import PipPin
from mlflow_dbimage.progress import Progress

_AT_ONCE = 4
_RELEASE = re.compile(r"\d+(?:\.\d+)*")

Taken = tuple[ResolvedDistribution, LockedWheel]


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelChoice:
    """The wheels that are taken; none is fetched yet but those that were built."""

    taken: tuple[Taken, ...]
    """In the order of their names."""
    drift: tuple[Drift, ...]
    notes: tuple[str, ...]
    """What people should know besides."""


def choose(pins: Sequence[PipPin], request: PipRequest, solver: Solver, progress: Progress) -> WheelChoice:
    """Take each distribution as it is listed, else the nearest that has a wheel.

    Raises:
        ServiceError: `index-failed`, `offline`, `program-failed`.
        VerificationError: `digest-mismatch`.
    """
    with progress.step("finding wheels") as step:
        listed = pinned_distributions.find(pins, request, solver.pip)
        step.note(f"{len(listed.found)} of {len(pins)}")
    failed = list(listed.failed)
    taken = _wheels(listed.found, request, solver, progress, failed)
    with progress.step("looking for the nearest") as step, ThreadPoolExecutor(_AT_ONCE) as pool:
        step.note(f"of {len(failed)} packages")
        answers = list(pool.map(lambda each: _nearest(each[0], request, solver), failed))
    near = [answer and answer[0] for answer in answers]
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
        notes=tuple(dict.fromkeys((*listed.notes, *(note for answer in answers if answer for note in answer[1])))),
    )


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
            failed.append((pin, NO_WHEEL))
    if to_build:
        with progress.step("building wheels from source") as step, ThreadPoolExecutor(_AT_ONCE) as pool:
            step.total(len(to_build))
            built = pool.map(lambda each: _built(each[1], request, solver), to_build)
            for (pin, distribution), wheel in zip(to_build, built, strict=True):
                step.advance()
                if wheel is None:
                    failed.append((pin, NOT_BUILT))
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


def _nearest(pin: PipPin, request: PipRequest, solver: Solver) -> tuple[Taken, tuple[str, ...]] | None:
    """Return the next version that has a wheel, with notes: the newer or the older one, whichever is closer."""
    release = _RELEASE.match(pin.version)
    if release is None:
        return None
    ready = replace(request, alone=True, interpreter=None)
    newer = replace(ready, lines=(_line(pin, f">={release.group()}"),), oldest=True)
    older = replace(ready, lines=(_line(pin, f"<{release.group()}"),))
    candidates: list[tuple[Taken, tuple[str, ...]]] = []
    for each in (newer, older):
        with suppress(MatchError, InputError):
            answer = solver.pip.resolve(each)
            for distribution in answer.distributions:
                wheel = _ready(distribution, request)
                candidates += [((distribution, wheel), answer.notes)] if wheel is not None else []
    return min(candidates, key=lambda each: distance(pin.version, each[0][1].version), default=None)


def _line(pin: PipPin, specifier: str | None = None) -> Requirement:
    return Requirement(text=f"{pin.name}{specifier or f'=={pin.version}'}", origin=str(pin))
