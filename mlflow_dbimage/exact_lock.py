"""The lock of a golden base: every package as its list names it, and what drifted from the list.

A lock like any other comes of it (`locked_env`), made without resolving. Who owns a distribution or a path that
two packages bring is settled as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlflow_dbimage.build_cache import BuildCache, cache_key, scratch_directory
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locked_env import EnvironmentOptions, LockedEnv
from mlflow_dbimage.locking import exact_packages, exact_wheels, lock_inputs, package_owners, pip_part
from mlflow_dbimage.locking.environment_solver import (
    CONDA_PLATFORMS,
    DEFAULT_CHANNELS,
    CondaRequest,
    IndexAccess,
    PipRequest,
    Solver,
)
from mlflow_dbimage.locking.exact_packages import CondaChoice, Drift
from mlflow_dbimage.package_list import CondaPin, PackageList
from mlflow_dbimage.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactLock:
    """A lock, and how it differs from the list that it was made of."""

    locked: LockedEnv
    drift: tuple[Drift, ...]

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"locked": self.locked.to_record(), "drift": [asdict(each) for each in self.drift]}

    @classmethod
    def from_record(cls, data: dict[str, Any]) -> ExactLock:
        """Read what `to_record` gave.

        Raises:
            ValueError: The lock has another form.
        """
        locked = LockedEnv.from_record(data["locked"])
        return cls(locked=locked, drift=tuple(Drift(**each) for each in data["drift"]))


def lock_once(
    wanted: PackageList,
    options: EnvironmentOptions,
    solver: Solver,
    cache: BuildCache,
    progress: Progress,
    *,
    allow_drift: bool,
) -> ExactLock:
    """Return the lock that the same list gave before, or make it now and remember it.

    Raises: as `lock`.
    """
    key = inputs_key(wanted, options, solver)
    with cache.lock(f"lock-{key}"):
        found = _remembered(cache.record("exact-locks", key))
        if found is None:
            found = lock(wanted, options, solver, progress)
            cache.put_record("exact-locks", key, found.to_record())
    if found.drift and not allow_drift:
        raise _drifted(wanted, found.drift)
    return found


def lock(wanted: PackageList, options: EnvironmentOptions, solver: Solver, progress: Progress) -> ExactLock:
    """Find every package of a list, exactly or the nearest.

    Raises:
        MatchError: `package-not-found`, no channel has a Python of that minor version; `unsolvable`, from what
            Python itself needs; `wrong-platform`; `ownership-conflict`.
        ServiceError: `channel-failed`, `index-failed`, `offline`, `program-failed`, `disk-failed`.
        VerificationError: `digest-mismatch`.
    """
    request = _conda_request(wanted, options)
    with progress.step("finding conda packages") as step:
        choice = _conda(wanted, request, solver)
        step.note(f"{len(choice.packages)} packages")
    python = next(package.version for package in choice.packages if package.name == "python")
    locked = LockedEnv(
        platform=options.platform,
        python=python,
        conda=choice.packages,
        notes=choice.notes,
        as_of=options.exclude_newer,
    )
    with scratch_directory(solver.work) as scratch:
        prefix = scratch / "env"
        shared = solver.conda.install(
            locked.conda, prefix, request.platform, offline=options.offline, progress=progress
        )
        locked = replace(locked, decisions=shared)
        if not wanted.pip:
            return ExactLock(locked=locked, drift=choice.drift)
        pip = PipRequest(
            access=IndexAccess(
                index_url=options.index_url,
                extra_index_urls=options.extra_index_urls,
                local_version_indexes=options.local_version_indexes,
                offline=options.offline,
            ),
            python=python,
            interpreter=pip_part.interpreter(prefix, options.platform),
            platform=options.platform,
            glibc=options.glibc,
            exclude_newer=options.exclude_newer,
        )
        wheels = exact_wheels.choose(wanted.pip, pip, solver, progress)
        installed = package_owners.read_installed(prefix)
        part = pip_part.settle(wheels.taken, pip, locked.conda, installed, solver=solver, progress=progress)
    locked = replace(
        locked,
        conda=part.conda,
        wheels=part.wheels,
        decisions=(*locked.decisions, *part.decisions),
        notes=(*locked.notes, *wheels.notes),
    )
    return ExactLock(locked=locked, drift=(*choice.drift, *wheels.drift))


def inputs_key(wanted: PackageList, options: EnvironmentOptions, solver: Solver) -> str:
    """Return a key that changes with whatever the lock depends on, as far as it can be known without asking."""
    request = _conda_request(wanted, options)
    bare = lock_inputs.without_credentials
    return cache_key(
        [*map(str, wanted.conda), *map(str, wanted.pip), wanted.python],
        [[name, bare(request.channel_map.get(name, name))] for name in request.channels],
        dict(solver.conda.validators(request)),
        [bare(url) for url in (options.index_url or "", *options.extra_index_urls)],
        {label: bare(url) for label, url in options.local_version_indexes.items()},
        None if options.exclude_newer is None else options.exclude_newer.isoformat(),
        str(options.platform),
        options.glibc,
        [solver.conda.identity, solver.pip.identity],
    )


def _conda_request(wanted: PackageList, options: EnvironmentOptions) -> CondaRequest:
    platform = CONDA_PLATFORMS.get(f"{options.platform.os}/{options.platform.architecture}")
    if platform is None:
        raise MatchError("wrong-platform", f"no environments can be made for {options.platform}")
    return CondaRequest(
        python=wanted.python,
        requirements=(),
        channels=(wanted.channels if options.channels is None else options.channels) or DEFAULT_CHANNELS,
        channel_map=options.channel_map,
        platform=platform,
        glibc=options.glibc,
        exclude_newer=options.exclude_newer,
        offline=options.offline,
    )


def _conda(wanted: PackageList, request: CondaRequest, solver: Solver) -> CondaChoice:
    if not wanted.conda:
        return _python_alone(wanted, request, solver)
    choice = exact_packages.choose(wanted.conda, solver.conda.offers(request, [pin.name for pin in wanted.conda]))
    if not any(package.name == "python" for package in choice.packages):
        minor = ".".join(wanted.python.split(".")[:2])
        raise MatchError(
            "package-not-found",
            f"no channel has Python {minor}, which all of `{wanted.title}` is for: searched"
            f" {', '.join(map(lock_inputs.without_credentials, request.channels))}",
            hint="map the name of a channel that has it",
        )
    return choice


def _python_alone(wanted: PackageList, request: CondaRequest, solver: Solver) -> CondaChoice:
    """Take Python and what it needs to run: that much is resolved, since the list says nothing of it."""
    solution = solver.conda.solve(request)
    packages = tuple(sorted(solution.packages, key=lambda package: package.name))
    python = next(package for package in packages if package.name == "python")
    pin = CondaPin(name="python", version=wanted.python)
    drift: tuple[Drift, ...] = ()
    if not f"{python.version}.".startswith(f"{wanted.python}."):
        taken = f"python={python.version}={python.build}"
        drift = (Drift(wanted=str(pin), reason="no channel has that version", taken=taken),)
    return CondaChoice(packages=packages, drift=drift, notes=solution.notes)


def _drifted(wanted: PackageList, drift: Sequence[Drift]) -> MatchError:
    listed = "\n  ".join(map(str, drift))
    return MatchError(
        "base-drift",
        f"{len(drift)} of the {wanted.count} packages of `{wanted.title}` cannot be had as they are listed:\n"
        f"  {listed}",
        hint="map a channel or name an index that has them, or allow the drift, which the image then records",
    )


def _remembered(record: dict[str, Any] | None) -> ExactLock | None:
    try:
        return None if record is None else ExactLock.from_record(record)
    except (KeyError, TypeError, ValueError):
        return None
