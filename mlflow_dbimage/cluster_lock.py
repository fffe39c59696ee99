"""The lock of an environment in the cluster's own Python: the wheels that differ from what the base has.

The model's pip requirements are resolved beside the base's distributions: one that satisfies stays, whether or not
an index has it. What Databricks injects is left out. What would break the base's other distributions is resolved
with them, and what a notebook's kernel needs may not change at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import InvalidVersion, Version

from mlflow_dbimage import locked_env
from mlflow_dbimage.build_cache import BuildCache, cache_key, scratch_directory
from mlflow_dbimage.cluster_fit import (
    INJECTED,
    KERNEL,
    REQUIRED,
    broken_by,
    compiled_for_another_numpy,
    impossible,
    refuse_misfits,
    settle_with_base,
)
from mlflow_dbimage.cluster_python import ClusterPython
from mlflow_dbimage.environment_spec import EnvironmentSpec, Requirement
from mlflow_dbimage.errors import MatchError, ServiceError
from mlflow_dbimage.lock_changes import AddedPackage, LockChanges, PackageChange
from mlflow_dbimage.locked_env import EnvironmentOptions, LockedEnv
from mlflow_dbimage.locking import local_versions, package_owners, path_owners, pip_part
from mlflow_dbimage.locking.environment_solver import CondaRequest, PipRequest, PipSolution, Solver
from mlflow_dbimage.locking.locked_packages import ClusterPart, Decision, LockedWheel
from mlflow_dbimage.locking.package_owners import InstalledConda, ResolvedDistribution
from mlflow_dbimage.locking.path_owners import Placed
from mlflow_dbimage.oci.tar import hiding
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.version_pins import is_version


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLock:
    """A lock for the cluster's own Python, and what it was solved beside."""

    python: ClusterPython
    locked: LockedEnv

    @property
    def hidden(self) -> tuple[str, ...]:
        """Paths of the base that go, with their byte code, so that no distribution is there twice.

        Only the virtual environment's own: a distribution of the system stays, and is shadowed.
        """
        assert self.locked.cluster is not None
        going = {*(wheel.name for wheel in self.locked.wheels), *self.locked.cluster.superseded}
        own = [each for each in self.python.distributions.values() if each.own]
        gone = {path for each in own if each.name in going for path in each.files}
        gone -= {path for each in own if each.name not in going for path in each.files}
        site = f"{self.python.site_packages}/"  # stays itself, whatever in it goes
        return hiding(gone, {*(self.python.paths - gone), site})

    @property
    def changes(self) -> LockChanges:
        """How the packages that an import finds differ from the base's."""
        assert self.locked.cluster is not None
        before = {name: each.version for name, each in self.python.distributions.items()}
        wheels = {wheel.name: wheel for wheel in self.locked.wheels}
        gone = self.locked.cluster.superseded
        return LockChanges(
            kept=tuple(sorted(before.keys() - wheels.keys() - set(gone))),
            changed=tuple(
                PackageChange(name=name, before=before[name], after=wheel.version, size=wheel.size)
                for name, wheel in sorted(wheels.items())
                if name in before
            ),
            added=tuple(
                AddedPackage(name=name, version=wheel.version, size=wheel.size)
                for name, wheel in sorted(wheels.items())
                if name not in before
            ),
            gone=tuple(f"{name} {before[name]}" for name in gone),
        )


def lock_once(
    spec: EnvironmentSpec,
    options: EnvironmentOptions,
    cluster: ClusterPython,
    solver: Solver,
    *,
    cache: BuildCache,
    progress: Progress,
) -> ClusterLock:
    """Return the lock that the same inputs gave before, or solve now and remember it.

    Raises: as `lock`.
    """
    key = cache_key("cluster", locked_env.inputs_key(spec, options, solver), str(cluster.digest))
    with cache.lock(f"lock-{key}"):
        locked = locked_env.remembered(key, spec, solver, cache, progress)
        if locked is None:
            locked = lock(spec, options, cluster, solver, progress)
            cache.put_record("locks", key, locked.to_record())
    return ClusterLock(python=cluster, locked=locked)


def lock(
    spec: EnvironmentSpec,
    options: EnvironmentOptions,
    cluster: ClusterPython,
    solver: Solver,
    progress: Progress,
) -> LockedEnv:
    """Resolve the model's pip requirements beside what the base has, and lock the wheels that differ.

    Raises:
        MatchError: `layout-impossible`, the model has conda packages or another Python, or would change what a
            notebook needs, or break other packages of the base; `unsolvable`, `package-not-found`,
            `wrong-platform`, `ownership-conflict`.
        ServiceError: `index-failed`, `offline`, `program-failed`, `disk-failed`.
        InputError: `model-environment-invalid`, `model-unsafe`.
        VerificationError: `digest-mismatch`.
    """
    refuse_misfits(spec, cluster)
    locked = LockedEnv(
        platform=options.platform,
        python=cluster.python,
        conda=(),
        notes=_python_notes(spec, cluster),
        as_of=locked_env.cutoff(spec, options),
        cluster=ClusterPart(kept={}),
    )
    with scratch_directory(solver.work) as scratch:
        wanted = replace(locked_env.conda_request(spec, options), python=locked.python, requirements=())
        locked = _with_builder(locked, wanted, scratch / "python", solver, progress)
        interpreter = _interpreter(locked, scratch / "python")
        request = locked_env.pip_request_for(locked, spec, options, interpreter)
        try:
            return _with_wheels(locked, request, cluster, solver, progress)
        except MatchError as error:
            raise local_versions.explained(error, spec.pip, options.local_version_indexes) from None


def _python_notes(spec: EnvironmentSpec, cluster: ClusterPython) -> tuple[str, ...]:
    if spec.python in (cluster.python, cluster.minor) or cluster.python == cluster.minor:
        return ()
    return (f"the base's Python {cluster.python} is kept, where the model was made with {spec.python}",)


def _with_builder(
    locked: LockedEnv, request: CondaRequest, prefix: Path, solver: Solver, progress: Progress
) -> LockedEnv:
    """Find a Python of the cluster's minor version, and install it: the base's own does not run here."""
    try:
        packages = tuple(sorted(solver.conda.solve(request).packages, key=lambda package: package.name))
        solver.conda.install(packages, prefix, request.platform, offline=request.offline, progress=progress)
    except (MatchError, ServiceError) as error:
        why = error.message.splitlines()[0]
        note = f"nothing is compiled or built from source: no channel gives Python {locked.python_minor}: {why}"
        return replace(locked, notes=(*locked.notes, note))
    return replace(locked, cluster=ClusterPart(kept={}, builder=packages))


def _interpreter(locked: LockedEnv, prefix: Path) -> Path | None:
    assert locked.cluster is not None
    return pip_part.interpreter(prefix, locked.platform) if locked.cluster.builder else None


def _with_wheels(
    locked: LockedEnv, request: PipRequest, cluster: ClusterPython, solver: Solver, progress: Progress
) -> LockedEnv:
    with progress.step("resolving pip packages beside the base's") as step:
        solution = _resolve(_beside(request, cluster), cluster, solver)
        wanted = [each for each in solution.distributions if not _is_kept(each, cluster)]
        step.note(f"{len(solution.distributions)} packages, {len(wanted)} of them not the base's")
    chosen = pip_part.choose_wheels(wanted, request, solver, progress)
    wheels = solver.wheels.fetch(chosen, request.access, progress)
    placed = [(wheel, solver.wheels.contents(wheel, locked.python_minor)) for wheel in wheels]
    superseded, replaced = settle_with_base(placed, cluster)
    settled, shared = path_owners.settle_paths(placed, InstalledConda(distributions={}, paths={}))
    assert locked.cluster is not None
    laid = {wheel.name for wheel in settled}
    kept = {each.name for each in solution.distributions} - laid
    part = replace(
        locked.cluster,
        kept={name: cluster.distributions[name].version for name in sorted(kept)},
        superseded=superseded,
    )
    return replace(
        locked,
        wheels=settled,
        decisions=(*_left_to_the_cluster(request, placed), *replaced, *shared),
        notes=(*locked.notes, *solution.notes, *_required_notes(settled, cluster)),
        cluster=part,
    )


def _required_notes(wheels: Sequence[LockedWheel], cluster: ClusterPython) -> tuple[str, ...]:
    there = REQUIRED & cluster.distributions.keys()
    changed = ", ".join(f"{each.name} {each.version}" for each in wheels if each.name in there)
    return (f"{changed}: notebooks are sure to start with the base's versions alone",) if changed else ()


def _beside(request: PipRequest, cluster: ClusterPython) -> PipRequest:
    """Return the request with what the base has, held where a notebook needs it, and without what is injected."""
    present = tuple(each for name, each in sorted(cluster.distributions.items()) if name not in INJECTED)
    held = {each.name: f"{each.name}=={each.version}" for each in present if each.name in KERNEL}
    return replace(request, present=present, left_out=INJECTED, constraints=held)


def _resolve(request: PipRequest, cluster: ClusterPython, solver: Solver) -> PipSolution:
    """Resolve the model's lines, and again with what they would break in the base until nothing is."""
    broken: dict[str, tuple[str, ...]] = {}
    stale: frozenset[str] = frozenset()
    while True:
        try:
            solution = _holding_the_kernel(_with_lines(request, broken, stale, cluster), solver)
        except MatchError as error:
            if not broken:
                raise
            reasons = [reason for _, lost in sorted(broken.items()) for reason in lost]
            raise impossible([*reasons, *error.message.splitlines()]) from None
        versions = {each.name: each.version or "" for each in solution.distributions}
        unloadable = compiled_for_another_numpy(versions, cluster, request.platform)
        further = broken_by(versions, cluster, request.platform)
        further |= {name: (_stale_reason(name, cluster, versions),) for name in unloadable}
        if further.keys() <= broken.keys() and unloadable <= stale:
            return solution
        broken |= further
        stale |= unloadable
        request = replace(request, present=tuple(each for each in request.present if each.name not in stale))


def _stale_reason(name: str, cluster: ClusterPython, versions: Mapping[str, str]) -> str:
    there = cluster.distributions
    return (
        f"{name} {there[name].version} is compiled for NumPy {there['numpy'].version},"
        f" and does not load with {versions['numpy']}: it would need another version"
    )


def _with_lines(
    request: PipRequest, names: Iterable[str], stale: Collection[str], cluster: ClusterPython
) -> PipRequest:
    """Return the request with more of the base's names; what is stale may not stay in the base's version."""

    def line(name: str) -> str:
        version = cluster.distributions[name].version
        return f"{name}!={version}" if name in stale and is_version(version) else name

    lines = tuple(Requirement(text=line(name), origin="the base") for name in sorted(names))
    return replace(request, lines=(*request.lines, *lines))


def _holding_the_kernel(request: PipRequest, solver: Solver) -> PipSolution:
    """Resolve with the base's versions of what a kernel needs, or say which of them stand in the way."""
    try:
        return solver.pip.resolve(request)
    except MatchError as error:
        if not request.constraints:
            raise
        free = solver.pip.resolve(replace(request, constraints={}))
        versions = {each.name: each.version for each in free.distributions}
        there = {each.name: each.version for each in request.present}
        changed = [
            f"{name} would change from {there[name]} to {versions[name]}, and a notebook's kernel needs the base's"
            for name in sorted(request.constraints)
            if name in versions and versions[name] != there[name]
        ]
        raise (impossible(changed) if changed else error) from None


def _is_kept(distribution: ResolvedDistribution, cluster: ClusterPython) -> bool:
    present = cluster.distributions.get(distribution.name)
    if present is None or distribution.direct or distribution.version is None:
        return False
    with suppress(InvalidVersion):
        return Version(present.version) == Version(distribution.version)
    return False


def _left_to_the_cluster(request: PipRequest, placed: Placed) -> Iterator[Decision]:
    """Yield a decision for what the model or one of its wheels asks for and the cluster injects."""
    asked = {name for name, _ in package_owners.asked(request.lines)}
    asked |= {name for _, contents in placed for name in contents.requires}
    for name in sorted(asked.intersection(INJECTED)):
        yield Decision(
            distribution=name, owner="the cluster", reason="it is injected when the cluster starts, not installed"
        )
