"""The pip part of a lock: resolved beside the conda part, one wheel for each, one owner for each file."""

from __future__ import annotations

import platform as host
import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking import kept_wheels, package_owners, path_owners, wheel_choice, wheel_places
from mlflow_dbimage.locking.environment_solver import PipRequest, PipSolution, Solver
from mlflow_dbimage.locking.kept_wheels import SharedWheels
from mlflow_dbimage.locking.locked_packages import CondaPackage, Decision, KeptPackages, LockedWheel
from mlflow_dbimage.locking.package_owners import InstalledConda, Ownership, ResolvedDistribution
from mlflow_dbimage.locking.wheel_choice import OfferedWheel
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.target_markers import MACHINES, markers_of

_BUILDS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What is there before pip's part is resolved."""

    conda: tuple[CondaPackage, ...]
    installed: InstalledConda
    """What these have on disk."""
    kept: KeptPackages | None = None
    """Of a base. Its wheels are taken where a distribution is wanted in their version, else left beside."""

    @property
    def wheels(self) -> tuple[LockedWheel, ...]:
        """The base's."""
        return () if self.kept is None else self.kept.wheels

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the base's packages, by name."""
        conda = () if self.kept is None else self.kept.conda
        known = {canonicalize_name(package.name): package.version for package in conda}
        return known | {wheel.name: wheel.version for wheel in self.wheels}


@dataclass(frozen=True, slots=True, kw_only=True)
class PipPart:
    """What the pip part adds to a lock, and what of the conda part it leaves."""

    wheels: tuple[LockedWheel, ...]
    conda: tuple[CondaPackage, ...]
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]


def solve(request: PipRequest, present: Present, solver: Solver, progress: Progress) -> PipPart:
    """Resolve, choose or build wheels, fetch them, and settle who owns what.

    Raises: as `locked_env.lock`.
    """
    solution = PipSolution(distributions=())
    if request.lines:
        with progress.step("resolving pip packages") as step:
            solution = _resolve(request, solver)
            step.note(f"{len(solution.distributions)} packages")
    owners = package_owners.settle_distributions(present.conda, solution.distributions, present.installed)
    shared = kept_wheels.share(owners.pip, present.wheels, present.installed.without(owners.left_out))
    new = [each for each in owners.pip if each.name not in {wheel.name for wheel in shared.serving}]
    kept = _at_hand((*shared.serving, *shared.beside), request, solver)
    chosen = sorted((*kept, *choose_wheels(new, request, solver, progress)), key=lambda wheel: wheel.name)
    part = _placed(owners, chosen, request, present.installed, solver=solver, progress=progress)
    return replace(part, notes=solution.notes + _contradictions(part, shared, present, request, solver))


def settle(
    taken: Sequence[tuple[ResolvedDistribution, LockedWheel]],
    request: PipRequest,
    conda: Sequence[CondaPackage],
    installed: InstalledConda,
    *,
    solver: Solver,
    progress: Progress,
) -> PipPart:
    """Settle who owns what of wheels that are chosen already, and fetch those that are pip's.

    Raises:
        MatchError: `ownership-conflict`.
        ServiceError: `index-failed`, `offline`, `disk-failed`.
        VerificationError: `digest-mismatch`.
    """
    owners = package_owners.settle_distributions(conda, [distribution for distribution, _ in taken], installed)
    names = {each.name for each in owners.pip}
    chosen = [wheel for _, wheel in taken if wheel.name in names]
    return _placed(owners, chosen, request, installed, solver=solver, progress=progress)


def _placed(
    owners: Ownership,
    chosen: Sequence[LockedWheel],
    request: PipRequest,
    installed: InstalledConda,
    *,
    solver: Solver,
    progress: Progress,
) -> PipPart:
    """Fetch wheels, and give every path to one of those that bring it."""
    wheels = solver.wheels.fetch(chosen, request.access, progress)
    placed = [(wheel, solver.wheels.contents(wheel, request.python_minor)) for wheel in wheels]
    wheels, decisions = path_owners.settle_paths(placed, installed.without(owners.left_out))
    return PipPart(wheels=wheels, conda=owners.conda, decisions=owners.decisions + decisions, notes=())


def _contradictions(
    part: PipPart, shared: SharedWheels, present: Present, request: PipRequest, solver: Solver
) -> tuple[str, ...]:
    """Say what of the base was left as it is, and has other versions beside it than it needs."""
    names = {wheel.name for wheel in shared.beside}
    beside = [wheel for wheel in part.wheels if wheel.name in names]
    conda = {package.name for package in part.conda}
    brought = [each for each in present.installed.distributions.values() if each.package in conda]
    after = {each.name: each.version for each in brought if each.version is not None}
    return kept_wheels.contradictions(
        [(wheel, solver.wheels.contents(wheel, request.python_minor)) for wheel in beside],
        present.versions,
        after | {wheel.name: wheel.version for wheel in part.wheels},
        markers_of(request.python, request.platform),
    )


def interpreter(prefix: Path, target: Platform) -> Path | None:
    """Return the environment's Python where it can run on this machine."""
    machine = MACHINES[target.architecture]
    runs_here = sys.platform == "linux" and host.machine() == machine
    return prefix / "bin" / "python" if runs_here else None


def _resolve(request: PipRequest, solver: Solver) -> PipSolution:
    """Resolve beside conda's versions, freeing those that stand in the way, and in the end all of them."""
    held = dict(request.constraints)
    while True:
        answer = _attempt(replace(request, constraints=held), solver)
        if isinstance(answer, PipSolution):
            return answer
        if not held:
            raise answer
        rest = {name: text for name, text in held.items() if not _names(answer.message, name)}
        held = rest if len(rest) < len(held) else {}


def _attempt(request: PipRequest, solver: Solver) -> PipSolution | MatchError:
    try:
        return solver.pip.resolve(request)
    except MatchError as error:
        return error


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) is not None


def _at_hand(wheels: Sequence[LockedWheel], request: PipRequest, solver: Solver) -> list[LockedWheel]:
    """Return wheels of a base where this site has them, building again what was built there and is not here."""
    return [
        wheel
        if wheel.built_from is None or solver.wheels.has(wheel)
        else solver.pip.build(wheel.built_from, request)
        for wheel in wheel_places.located(wheels, request, solver)
    ]


def choose_wheels(
    distributions: Sequence[ResolvedDistribution], request: PipRequest, solver: Solver, progress: Progress
) -> tuple[LockedWheel, ...]:
    """Choose a wheel for each distribution, or build one.

    Raises:
        MatchError: `wrong-platform`, there is no wheel and none can be built; `unsolvable`, a build failed.
        ServiceError: As building raises it.
    """
    tags = wheel_choice.tags(request.python_minor, request.glibc, request.platform)
    chosen = [(each, wheel_choice.choose(each.wheels, tags)) for each in distributions]
    _refuse_unbuildable([each for each, wheel in chosen if wheel is None], request)
    wheels = [locked_wheel(each, wheel) for each, wheel in chosen if wheel is not None]
    to_build = [each.source for each, wheel in chosen if wheel is None and each.source is not None]
    if to_build:
        with (
            progress.step("building wheels from source") as step,
            ThreadPoolExecutor(_BUILDS_AT_ONCE) as pool,
        ):
            step.total(len(to_build))
            for wheel in pool.map(lambda source: solver.pip.build(source, request), to_build):
                wheels.append(wheel)
                step.advance()
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _refuse_unbuildable(distributions: Iterable[ResolvedDistribution], request: PipRequest) -> None:
    refused = [
        f"{each.name} {each.version or ''}".rstrip()
        for each in distributions
        if each.source is None or request.interpreter is None
    ]
    if refused:
        here = "" if request.interpreter else "; source distributions are built only on the platform itself"
        raise MatchError(
            "wrong-platform",
            f"no wheel for {request.platform} with glibc {request.glibc} and Python {request.python_minor}: "
            f"{', '.join(refused)}{here}",
            hint="pin versions that have such wheels, or name a base image with a newer glibc",
        )


def locked_wheel(distribution: ResolvedDistribution, wheel: OfferedWheel) -> LockedWheel:
    """Return a wheel that was chosen as one of a lock."""
    version = distribution.version or str(parse_wheel_filename(wheel.file_name)[1])
    return LockedWheel(
        name=distribution.name,
        version=version,
        file_name=wheel.file_name,
        sha256=wheel.sha256 or "",
        size=wheel.size,
        url=wheel.url,
        path=wheel.path,
    )
