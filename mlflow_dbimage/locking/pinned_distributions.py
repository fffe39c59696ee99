"""What an index has of distributions in exactly given versions, each for itself; and which of them it lacks.

A resolver tells the first problem alone. Without dependencies every line stands for itself, so that halving the
lines finds all that an index lacks, whatever words the resolver has for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import DbimageError, InputError, MatchError
from mlflow_dbimage.locking import local_versions
from mlflow_dbimage.locking.environment_solver import PipBackend, PipRequest
from mlflow_dbimage.locking.package_owners import ResolvedDistribution
from mlflow_dbimage.package_list import PipPin
from mlflow_dbimage.version_pins import is_version

NO_WHEEL = "no wheel is for that Python, platform and glibc"
NOT_BUILT = "it has no wheel, and cannot be built from source"
_NOT_THERE = "no index has that version"
_NO_VERSION = "no index can have that version: it is a private one"

Failed = tuple[PipPin, str]
"""What cannot be had, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedDistributions:
    """What was found, and what was not."""

    found: tuple[tuple[PipPin, ResolvedDistribution], ...]
    failed: tuple[Failed, ...]
    notes: tuple[str, ...] = ()
    """What people should know besides: whose age no index tells."""


def find(pins: Sequence[PipPin], request: PipRequest, pip: PipBackend) -> PinnedDistributions:
    """Find distributions without what they depend on.

    Raises:
        ServiceError: `index-failed`, `offline`, `program-failed`.
    """
    known = [pin for pin in pins if is_version(pin.version)]
    failed: list[Failed] = [(pin, _NO_VERSION) for pin in pins if pin not in known]
    notes: list[str] = []
    found = _found(known, replace(request, alone=True), pip, failed, notes)
    return PinnedDistributions(found=tuple(found), failed=tuple(failed), notes=tuple(dict.fromkeys(notes)))


def _found(
    pins: Sequence[PipPin], request: PipRequest, pip: PipBackend, failed: list[Failed], notes: list[str]
) -> list[tuple[PipPin, ResolvedDistribution]]:
    """Find the distributions of some lines; what is lacking goes to `failed`, what is said besides to `notes`."""
    if not pins:
        return []
    lines = tuple(Requirement(text=str(pin), origin=str(pin)) for pin in pins)
    further = local_versions.index_lines(lines, request.access.local_version_indexes)
    try:
        answer = pip.resolve(replace(request, lines=(*lines, *further)))
    except (MatchError, InputError) as error:
        if len(pins) == 1:
            failed.append((pins[0], _reason(error)))
            return []
        middle = len(pins) // 2
        halves = (pins[:middle], pins[middle:])
        return [found for half in halves for found in _found(half, request, pip, failed, notes)]
    notes += answer.notes
    by_name = {each.name: each for each in answer.distributions}
    return [(pin, by_name[pin.name]) for pin in pins if pin.name in by_name]


def _reason(error: DbimageError) -> str:
    if error.code == "unsolvable" and "build" in error.message:
        return NOT_BUILT
    return NO_WHEEL if error.code == "wrong-platform" else _NOT_THERE
