"""Wheels: kept by hash and unpacked, listed before they are installed, and installed as pypa's `installer` does.

No interpreter runs, so that the target may be another platform; scripts name the Python that the image has.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.wheel_download import Downloader
from mlflow_dbimage.backends.wheel_prefix import PlacedWheel
from mlflow_dbimage.errors import DbimageError, InputError, ServiceError, VerificationError, disk_errors
from mlflow_dbimage.locking.environment_solver import IndexAccess
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.locking.package_owners import WheelContents
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.progress import Progress, Step

_DOWNLOADS_AT_ONCE = 8
_INSTALLED_AT_ONCE = 2


class WheelStore:
    """The `WheelBackend`: wheels at `<sha256>/<file name>` below a folder.

    Args:
        directory: The folder; it exists.
        unpacked: The same wheels, unpacked.
    """

    def __init__(self, directory: Path, unpacked: UnpackedWheels) -> None:
        self._directory = directory
        self._unpacked = unpacked

    def path(self, wheel: LockedWheel) -> Path:
        """Return where a wheel is kept, or would be."""
        return self._directory / wheel.sha256 / Path(wheel.file_name).name

    def has(self, wheel: LockedWheel) -> bool:
        """Whether the wheel is kept, intact; one that is damaged is dropped."""
        path = self.path(wheel)
        if not wheel.sha256 or not path.is_file():
            return False
        with path.open("rb") as stream:
            intact = Digest.of_stream(stream).hex == wheel.sha256
        if not intact:
            path.unlink(missing_ok=True)
        return intact

    def keep(self, wheel: LockedWheel, source: Path) -> LockedWheel:
        """Keep a copy of a local file as this wheel, and return it with the file's hash and size.

        Raises:
            VerificationError: `digest-mismatch`.
            ServiceError: `disk-failed`.
        """
        with source.open("rb") as stream:
            found = Digest.of_stream(stream).hex
        if wheel.sha256 and found != wheel.sha256:
            raise VerificationError(
                "digest-mismatch",
                f"`{wheel.file_name}` has sha256 {found}, and should have {wheel.sha256}",
            )
        kept = replace(wheel, sha256=found, size=source.stat().st_size)
        with disk_errors():
            self.path(kept).parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._directory) as aside:
                copy = shutil.copyfile(source, Path(aside) / "wheel")
                copy.replace(self.path(kept))
        return kept

    def fetch(
        self, wheels: Sequence[LockedWheel], access: IndexAccess, progress: Progress
    ) -> tuple[LockedWheel, ...]:
        """Fetch and unpack what is not kept, eight at a time, and return the wheels with hash and size."""
        with ThreadPoolExecutor(max_workers=_DOWNLOADS_AT_ONCE) as pool:
            kept = list(pool.map(self.has, wheels))
            missing = [wheel for wheel, here in zip(wheels, kept, strict=True) if not here]
            got: dict[str, LockedWheel] = {}
            if missing:
                if access.offline:
                    _refuse_downloads([wheel for wheel in missing if wheel.path is None])
                downloader = Downloader(IndexCredentials(access.index_urls))
                with progress.step(f"fetching {len(missing)} wheels") as step:
                    step.total(sum(wheel.size or 0 for wheel in missing))
                    get = partial(self._get, access=access, downloader=downloader, step=step)
                    got = {wheel.name: wheel for wheel in _all_or_errors(pool, get, missing)}
            fetched = tuple(got.get(wheel.name) or self._sized(wheel) for wheel in wheels)
            packed = [wheel for wheel in fetched if not self._unpacked.has(wheel.sha256)]
            if packed:
                with progress.step(f"unpacking {len(packed)} wheels") as step:
                    step.total(len(packed))
                    list(pool.map(partial(self._unpack, step=step), packed))
        return fetched

    def _sized(self, wheel: LockedWheel) -> LockedWheel:
        """Return a kept wheel with its size, which not every index tells."""
        return replace(wheel, size=self.path(wheel).stat().st_size)

    def contents(self, wheel: LockedWheel, python_minor: str) -> WheelContents:
        """Return where each file of a fetched wheel is installed, and what the wheel needs."""
        with disk_errors():
            return self._unpacked.listing(wheel.sha256, self.path(wheel)).contents(python_minor)

    def install(
        self,
        wheels: Sequence[LockedWheel],
        prefix: Path,
        image_prefix: str,
        python_minor: str,
        progress: Progress,
    ) -> None:
        """Install fetched wheels, largest first, two at a time: hashing and unpacking let others run."""
        ordered = sorted(wheels, key=lambda wheel: -(wheel.size or 0))
        with progress.step(f"installing {len(wheels)} wheels") as step, disk_errors():
            step.total(len(wheels))

            def one(wheel: LockedWheel) -> None:
                into = PlacedWheel(prefix, python_minor, f"{image_prefix}/bin/python", wheel.omitted)
                self._unpacked.install(wheel.sha256, self.path(wheel), into)
                step.advance()

            with ThreadPoolExecutor(_INSTALLED_AT_ONCE) as pool:
                list(pool.map(one, ordered))

    def _get(self, wheel: LockedWheel, *, access: IndexAccess, downloader: Downloader, step: Step) -> LockedWheel:
        if wheel.path is not None:
            return self.keep(wheel, model_file(wheel.path, access.directory))
        assert wheel.url is not None
        with disk_errors(), tempfile.TemporaryDirectory(dir=self._directory) as aside:
            into = Path(aside) / "wheel"
            sha256, size = downloader.download(wheel.url, wheel.sha256 or None, into, step.advance)
            got = replace(wheel, sha256=sha256, size=size)
            self.path(got).parent.mkdir(exist_ok=True)
            into.replace(self.path(got))
            self._unpacked.listing(got.sha256, self.path(got))  # while others are still on their way
        return got

    def _unpack(self, wheel: LockedWheel, *, step: Step) -> None:
        with disk_errors():
            self._unpacked.listing(wheel.sha256, self.path(wheel))
        step.advance()


def model_file(path: str, directory: Path | None) -> Path:
    """Return a file or folder that a pip line of the model names.

    Raises:
        InputError: `model-unsafe`, it is outside the model; `model-environment-invalid`, it does not exist.
    """
    if directory is None:
        raise InputError("model-environment-invalid", f"`{path}` is in the model, which is not at hand")
    root = directory.resolve()
    found = (root / path).resolve()
    if not found.is_relative_to(root):
        raise InputError("model-unsafe", f"a pip line names `{path}`, which is outside the model")
    if not found.exists():
        raise InputError("model-environment-invalid", f"a pip line names `{path}`, which the model lacks")
    return found


def _refuse_downloads(missing: Sequence[LockedWheel]) -> None:
    if missing:
        names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in missing)
        raise ServiceError(
            "offline",
            f"the wheel cache lacks {names}, and the network may not be used",
            hint="build once with the network, or copy the cache of a machine that has",
        )


def _all_or_errors(
    pool: ThreadPoolExecutor, get: partial[LockedWheel], wheels: Sequence[LockedWheel]
) -> list[LockedWheel]:
    """Get all wheels, or raise one error that lists all that failed."""
    futures = [pool.submit(get, wheel) for wheel in wheels]
    failed = [error for error in (future.exception() for future in futures) if error is not None]
    if not failed:
        return [future.result() for future in futures]
    first = failed[0]
    ours = [error for error in failed if isinstance(error, DbimageError)]
    if not isinstance(first, DbimageError) or len(ours) != len(failed) or len(failed) == 1:
        raise first
    text = "\n  ".join(error.message for error in ours if error.code == first.code)
    raise type(first)(first.code, f"{len(failed)} wheels cannot be had:\n  {text}", hint=first.hint)
