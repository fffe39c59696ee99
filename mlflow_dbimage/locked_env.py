"""The locked environment: every conda package and wheel with version, build and hash, and who owns what.

`lock` solves what a model asks for, `lock_once` remembers it. The programs and services that do the work are
behind the protocols of `environment_solver`; `installed_env` puts a lock into a prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

from mlflow_dbimage.build_cache import BuildCache, scratch_directory
from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking import field_checks, local_versions, lock_files, lock_inputs, package_owners, pip_part
from mlflow_dbimage.locking.environment_solver import (
    CONDA_PLATFORMS,
    DEFAULT_CHANNELS,
    CondaRequest,
    EnvironmentOptions,
    IndexAccess,
    PipRequest,
    Solver,
)
from mlflow_dbimage.locking.locked_packages import (
    ClusterPart,
    CondaPackage,
    Decision,
    KeptPackages,
    LockedWheel,
)
from mlflow_dbimage.locking.pip_part import Present
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import canonical_json
from mlflow_dbimage.progress import Progress

__all__ = ["EnvironmentOptions", "LockedEnv", "Solver", "cutoff", "lock", "lock_once"]

#: Of the form of `to_record`.
_RECORD_VERSION = 1

#: What MLflow writes into every conda environment, and no model imports: whose it is does not matter.
_INSTALLERS = ("pip", "setuptools", "wheel")

_URL = re.compile(r"https?://[^\s'\"#;]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedEnv:
    """An environment without any freedom left."""

    platform: Platform
    python: str
    """The version of its Python, with patch."""
    conda: tuple[CondaPackage, ...]
    """In the order of their names."""
    wheels: tuple[LockedWheel, ...] = ()
    """In the order of their names."""
    decisions: tuple[Decision, ...] = ()
    notes: tuple[str, ...] = ()
    """What people should know: where the solution is not quite what the model asked for."""
    as_of: datetime | None = None
    """Nothing newer was taken; also when a wheel is built again."""
    cluster: ClusterPart | None = None
    """Of a lock whose wheels go into the cluster's own Python; it has no conda packages."""

    @property
    def digest(self) -> Digest:
        """The identity of the environment: names, versions, builds and hashes, never a URL."""
        packages = lock_files.identity(self.conda, self.wheels)
        identity: dict[str, Any] = {"platform": str(self.platform), "packages": packages}
        if self.cluster is not None:
            identity["cluster"] = lock_files.cluster_identity(self.python, self.cluster)
        return Digest.of(canonical_json(identity))

    @property
    def python_minor(self) -> str:
        """The Python without its patch: `3.11`."""
        return ".".join(self.python.split(".")[:2])

    @property
    def brings_python(self) -> bool:
        """Whether installing it brings a Python, that of the environment or one of the same minor version."""
        return self.cluster is None or bool(self.cluster.builder)

    def as_kept(self) -> KeptPackages:
        """Give the packages, for an environment that keeps them."""
        return KeptPackages(python=self.python, conda=self.conda, wheels=self.wheels)

    def without_places(self) -> LockedEnv:
        """Return the lock without the mirrors that its packages were found on: what it is, not whence it came."""
        return replace(
            self,
            conda=tuple(package.without_place() for package in self.conda),
            wheels=tuple(wheel.without_place() for wheel in self.wheels),
        )

    def channel_urls(self) -> dict[str, str]:
        """Give, by conda package, the URL to record in the image: the channel's own, through any mirror."""
        return {package.name: package.canonical_url for package in self.conda}

    def files(self) -> dict[str, bytes]:
        """Give the standard lock files by name, as they go into the image."""
        pip = {"pylock.toml": self.pylock().encode()}
        return pip if self.cluster is not None else {"conda-explicit.txt": self.conda_explicit().encode(), **pip}

    def conda_explicit(self) -> str:
        """Give the conda part as an explicit list with hashes."""
        return lock_files.conda_explicit(self.conda, CONDA_PLATFORMS[str(self.platform)])

    def pylock(self) -> str:
        """Give pip's part as `pylock.toml`."""
        return lock_files.pylock(self.wheels, self.python_minor)

    def to_record(self) -> dict[str, Any]:
        """Give everything, with URLs, as JSON; it holds no credentials."""
        return {
            "version": _RECORD_VERSION,
            "platform": str(self.platform),
            "python": self.python,
            "conda": [lock_files.conda_record(package) for package in self.conda],
            "wheels": [lock_files.wheel_record(wheel) for wheel in self.wheels],
            "decisions": [lock_files.decision_record(decision) for decision in self.decisions],
            "notes": list(self.notes),
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
            "cluster": None if self.cluster is None else lock_files.cluster_record(self.cluster),
        }

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> LockedEnv:
        """Read what `to_record` gave.

        Raises:
            ValueError: The record has another version or form, or a field that names no package.
        """
        try:
            if data["version"] != _RECORD_VERSION:
                raise ValueError(f"a lock record of version {data['version']}")
            locked = cls(
                platform=Platform.parse(data["platform"]),
                python=field_checks.checked_python(data["python"]),
                conda=tuple(lock_files.read_conda(each) for each in data["conda"]),
                wheels=tuple(lock_files.read_wheel(each) for each in data["wheels"]),
                decisions=tuple(lock_files.read_decision(each) for each in data["decisions"]),
                notes=field_checks.checked_lines(data["notes"]),
                as_of=None if data["as_of"] is None else datetime.fromisoformat(data["as_of"]),
                cluster=lock_files.read_cluster(data["cluster"]) if data.get("cluster") else None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a lock record: {error}") from None
        field_checks.checked_once(package.name for package in locked.conda)
        field_checks.checked_once(wheel.name for wheel in locked.wheels)
        return locked


def lock_once(
    spec: EnvironmentSpec, options: EnvironmentOptions, solver: Solver, cache: BuildCache, progress: Progress
) -> LockedEnv:
    """Return the lock that the same inputs gave before, or solve now and remember it.

    Raises: as `lock`.
    """
    key = inputs_key(spec, options, solver)
    with cache.lock(f"lock-{key}"):
        known = remembered(key, spec, solver, cache, progress)
        if known is not None:
            return known
        made = lock(spec, options, solver, progress)
        cache.put_record("locks", key, made.to_record())
        return made


def remembered(
    key: str, spec: EnvironmentSpec, solver: Solver, cache: BuildCache, progress: Progress
) -> LockedEnv | None:
    """Return the lock that was recorded under a key, or None; wheels that the model brings are at hand then."""
    record = cache.record("locks", key)
    try:
        known = None if record is None else LockedEnv.from_record(record)
    except ValueError:
        return None
    return known if known is not None and _model_wheels_kept(known, spec, solver, progress) else None


def lock(spec: EnvironmentSpec, options: EnvironmentOptions, solver: Solver, progress: Progress) -> LockedEnv:
    """Solve the environment that a model asks for.

    The conda part is solved first and installed into a folder that is thrown away: its Python builds source
    distributions, its metadata says which distributions it brings, and wheels are held against its files.

    Raises:
        MatchError: `unsolvable`, `package-not-found`, `wrong-platform`, `ownership-conflict`.
        ServiceError: `channel-failed`, `index-failed`, `offline`, `program-failed`, `disk-failed`.
        InputError: `model-environment-invalid`, `model-unsafe`.
        VerificationError: `digest-mismatch`.
    """
    request = conda_request(spec, options)
    with progress.step("solving conda packages") as step:
        solution = solver.conda.solve(request)
        step.note(f"{len(solution.packages)} packages")
    conda = tuple(sorted(solution.packages, key=lambda package: package.name))
    locked = LockedEnv(
        platform=options.platform,
        python=next(package.version for package in conda if package.name == "python"),
        conda=conda,
        notes=solution.notes,
        as_of=request.exclude_newer,
    )
    with scratch_directory(solver.work) as scratch:
        prefix = scratch / "env"
        shared = solver.conda.install(conda, prefix, request.platform, offline=options.offline, progress=progress)
        locked = replace(locked, decisions=shared)
        if not spec.pip and not (options.kept and options.kept.wheels):
            return locked
        present = Present(conda=conda, installed=package_owners.read_installed(prefix), kept=options.kept)
        interpreter = pip_part.interpreter(prefix, options.platform)
        pip_request = pip_request_for(locked, spec, options, interpreter)
        try:
            return _with_pip(locked, pip_request, present, solver, progress)
        except MatchError as error:
            raise local_versions.explained(error, spec.pip, options.local_version_indexes) from None


def inputs_key(spec: EnvironmentSpec, options: EnvironmentOptions, solver: Solver) -> str:
    """Return a key that changes with whatever a lock depends on, as far as it can be known without asking."""
    return lock_inputs.key(spec, conda_request(spec, options), options, solver)


def cutoff(spec: EnvironmentSpec, options: EnvironmentOptions) -> datetime | None:
    """Return the time after which nothing is taken: as asked for, else the end of the day of logging."""
    if options.exclude_newer is not None:
        return options.exclude_newer.astimezone(timezone.utc)
    if spec.logged_at is None:
        return None
    day = spec.logged_at.astimezone(timezone.utc).date()
    return datetime.combine(day + timedelta(days=1), time(), timezone.utc)


def conda_request(spec: EnvironmentSpec, options: EnvironmentOptions) -> CondaRequest:
    """Return what the conda solver is asked.

    Raises:
        MatchError: `wrong-platform`.
    """
    platform = CONDA_PLATFORMS.get(f"{options.platform.os}/{options.platform.architecture}")
    if platform is None:
        known = ", ".join(CONDA_PLATFORMS)
        raise MatchError(
            "wrong-platform", f"no environments can be made for {options.platform}; known are {known}"
        )
    kept = options.kept
    fits = kept is not None and kept.python.startswith(f"{spec.python_minor}.")
    return CondaRequest(
        python=spec.python,
        requirements=spec.conda,
        channels=(spec.channels if options.channels is None else options.channels) or DEFAULT_CHANNELS,
        channel_map=options.channel_map,
        platform=platform,
        glibc=options.glibc,
        exclude_newer=cutoff(spec, options),
        offline=options.offline,
        kept=() if kept is None else kept.conda,
        kept_python=kept.python if kept is not None and fits else None,
        kept_installers={} if kept is None else _installers(kept),
    )


def _installers(kept: KeptPackages) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in kept.wheels if wheel.name in _INSTALLERS}


def pip_request_for(
    locked: LockedEnv, spec: EnvironmentSpec, options: EnvironmentOptions, interpreter: Path | None
) -> PipRequest:
    """Return what the pip resolver is asked, with the model's lines and the indexes that they need.

    Args:
        locked: Whose Python and day it is resolved for.
        spec: What the model asks for.
        options: Where indexes are.
        interpreter: A Python that builds from source; None where nothing can be built.
    """
    lines = (*spec.pip, *local_versions.index_lines(spec.pip, options.local_version_indexes))
    return PipRequest(
        access=IndexAccess(
            directory=spec.directory,
            index_url=options.index_url,
            extra_index_urls=options.extra_index_urls,
            line_urls=tuple(url for line in lines for url in _URL.findall(line.text)),
            local_version_indexes=options.local_version_indexes,
            offline=options.offline,
        ),
        lines=lines,
        python=locked.python,
        interpreter=interpreter,
        platform=options.platform,
        glibc=options.glibc,
        exclude_newer=locked.as_of,
    )


def _with_pip(
    locked: LockedEnv, request: PipRequest, present: Present, solver: Solver, progress: Progress
) -> LockedEnv:
    request = replace(
        request,
        constraints=package_owners.constraints(present.installed, request.lines),
        preferred=package_owners.preferences(present.installed, present.kept),
        present=package_owners.present(present.installed, present.kept),
    )
    part = pip_part.solve(request, present, solver, progress)
    left_out = {package.name for package in locked.conda} - {package.name for package in part.conda}
    shared = tuple(decision for decision in locked.decisions if decision.owner not in left_out)
    return replace(
        locked,
        conda=part.conda,
        wheels=part.wheels,
        decisions=shared + part.decisions,
        notes=locked.notes + part.notes,
    )


def _model_wheels_kept(locked: LockedEnv, spec: EnvironmentSpec, solver: Solver, progress: Progress) -> bool:
    """Keep the wheels that the model itself brings, so that only what indexes have need be fetched later."""
    built = [wheel for wheel in locked.wheels if wheel.built_from and wheel.built_from.kind == "path"]
    brought = [wheel for wheel in locked.wheels if wheel.path is not None]
    solver.wheels.fetch(brought, IndexAccess(directory=spec.directory), progress)
    return all(solver.wheels.has(wheel) for wheel in built)
