"""An installed environment: a lock put into a prefix, from caches, channels and indexes, without solving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking import pip_part, wheel_places
from mlflow_dbimage.locking.environment_solver import CONDA_PLATFORMS, IndexAccess, PipRequest, Solver
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInstaller:
    """Installs what a lock names."""

    solver: Solver
    access: IndexAccess

    def install(self, locked: LockedEnv, prefix: Path, image_prefix: str, progress: Progress) -> None:
        """Install every package of the lock into a new prefix; scripts name the Python of `image_prefix`.

        For wheels that go into a cluster's Python, the one that builds and compiles for it is installed beside
        them.

        Raises:
            ServiceError: `channel-failed`, `index-failed`, `offline`, `program-failed`, `disk-failed`.
            VerificationError: `digest-mismatch`: a channel or index has another file now, or a wheel that was
                built from source cannot be built again as it was.
            InputError: `model-unsafe`.
            MatchError: `unsolvable`, a wheel must be built again and cannot be; `package-not-found`, the index
                lacks a wheel of the base.
        """
        platform = CONDA_PLATFORMS[f"{locked.platform.os}/{locked.platform.architecture}"]
        offline = self.access.offline
        conda = locked.conda if locked.cluster is None else locked.cluster.builder
        if conda:
            self.solver.conda.install(
                conda, prefix, platform, offline=offline, progress=progress, image_prefix=image_prefix
            )
        if not locked.wheels:
            return
        request = self._request(locked, prefix)
        wheels = wheel_places.located(locked.wheels, request, self.solver)
        self._build_again(wheels, request)
        found = [wheel for wheel in wheels if wheel.built_from is None]
        self.solver.wheels.fetch(found, self.access, progress)
        self.solver.wheels.install(locked.wheels, prefix, image_prefix, locked.python_minor, progress)

    def _request(self, locked: LockedEnv, prefix: Path) -> PipRequest:
        return PipRequest(
            access=self.access,
            python=locked.python,
            interpreter=pip_part.interpreter(prefix, locked.platform),
            platform=locked.platform,
            glibc="",
            exclude_newer=locked.as_of,
        )

    def _build_again(self, wheels: Sequence[LockedWheel], request: PipRequest) -> None:
        """Build what was built from source and is not kept any more, and hold it against the lock."""
        for wheel in wheels:
            if wheel.built_from is None or self.solver.wheels.has(wheel):
                continue
            built = self.solver.pip.build(wheel.built_from, request)
            if built.sha256 != wheel.sha256:
                raise VerificationError(
                    "digest-mismatch",
                    f"{wheel.name} {wheel.version}, built again from {wheel.built_from}, has sha256 "
                    f"{built.sha256}, and the lock says {wheel.sha256}",
                    hint="lock the environment again",
                )
