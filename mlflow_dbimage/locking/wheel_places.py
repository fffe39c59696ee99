"""Where this site has the wheels of a base, which says what they are and not on which mirror they were found.

They are looked up by name and version, and known by their hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking import pinned_distributions
from mlflow_dbimage.locking.environment_solver import PipRequest, Solver
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.locking.package_owners import ResolvedDistribution
from mlflow_dbimage.package_list import PipPin

# Newer than any: what a base has installed fits its glibc.
_ANY_GLIBC = "2.99"


def located(wheels: Sequence[LockedWheel], request: PipRequest, solver: Solver) -> tuple[LockedWheel, ...]:
    """Return wheels that each are kept here or have a place; offline nothing is looked up.

    Args:
        wheels: Of a lock.
        request: For their Python and platform; its day and what it prefers do not count.
        solver: Whose index is asked for those that are neither.

    Raises:
        MatchError: `package-not-found`, the index lacks some of them.
        ServiceError: `index-failed`, `program-failed`.
    """
    lost = [] if request.access.offline else [each for each in wheels if _is_lost(each, solver)]
    if not lost:
        return tuple(wheels)
    pins = {PipPin(name=each.name, version=each.version): each for each in lost}
    answer = pinned_distributions.find(tuple(pins), _plain(request), solver.pip)
    placed = {pin.name: _placed(pins[pin], distribution) for pin, distribution in answer.found}
    reasons = {pin.name: reason for pin, reason in answer.failed}
    lacking = [each for each in lost if placed.get(each.name) is None]
    if lacking:
        raise _not_here([(each, reasons.get(each.name) or _other_file(each)) for each in lacking])
    return tuple(placed.get(each.name) or each for each in wheels)


def _is_lost(wheel: LockedWheel, solver: Solver) -> bool:
    return not wheel.has_place and not solver.wheels.has(wheel)


def _plain(request: PipRequest) -> PipRequest:
    """Return a request for what is there, whenever it was published and whatever the model asks for."""
    return PipRequest(
        access=request.access,
        python=request.python,
        interpreter=request.interpreter,
        platform=request.platform,
        glibc=_ANY_GLIBC,
    )


def _placed(wheel: LockedWheel, found: ResolvedDistribution) -> LockedWheel | None:
    """Return the wheel with the place of the same file; an index without hashes is held to it by the download."""
    if wheel.built_from is None:
        same = (
            each.url
            for each in found.wheels
            if (each.file_name == wheel.file_name if each.sha256 is None else each.sha256 == wheel.sha256)
        )
        url = next(same, None)
        return None if url is None else replace(wheel, url=url)
    ours, theirs = wheel.built_from, found.source
    if theirs is None or ours.file_name != theirs.file_name or ours.sha256 != (theirs.sha256 or ours.sha256):
        return None
    return replace(wheel, built_from=replace(ours, location=theirs.location))


def _other_file(wheel: LockedWheel) -> str:
    source = wheel.built_from
    name, sha256 = (wheel.file_name, wheel.sha256) if source is None else (source.file_name, source.sha256)
    return f"the index has no `{name}` with sha256 {sha256}"


def _not_here(lacking: Sequence[tuple[LockedWheel, str]]) -> MatchError:
    listed = "\n  ".join(f"{wheel.name} {wheel.version}: {reason}" for wheel, reason in lacking)
    first = f"{lacking[0][0].name} {lacking[0][0].version}"
    which = first if len(lacking) == 1 else f"{first} and {len(lacking) - 1} more"
    return MatchError(
        "package-not-found",
        f"the index lacks wheels that the golden base was built with, {which}:\n  {listed}",
        hint="name an index that has the same files, build the base again behind this one, or set"
        " env_layout=isolated",
    )
