"""The lock of an image, read back from the lock files that lie in it, so that it can be installed again.

The files say what was installed and nothing of where it was found. Conda packages are looked up in their channels
by name and hash, which gives what an installation records of them besides; wheels in the model, or by the
installation in the index. Nothing is solved.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from mlflow_dbimage.build_cache import scratch_directory
from mlflow_dbimage.errors import InputError, MatchError
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking import field_checks, package_owners, path_owners, pip_part, wheel_places
from mlflow_dbimage.locking.environment_solver import (
    CONDA_PLATFORMS,
    CondaRequest,
    IndexAccess,
    PipRequest,
    Solver,
)
from mlflow_dbimage.locking.locked_packages import CondaPackage, KeptPackages, LockedWheel
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.progress import Progress

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONDA_FILE, PIP_FILE = "conda-explicit.txt", "pylock.toml"

_LINE = re.compile(r"(?P<url>\S+/(?P<subdir>[^/\s]+)/(?P<file>[^/\s#]+))#sha256:(?P<sha256>[0-9a-f]{64})")
_ARCHIVE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\.(?:conda|tar\.bz2)")
_CHANNEL = re.compile(r"https://conda\.anaconda\.org/([A-Za-z0-9_-][A-Za-z0-9_.-]*)")
_DEFAULTS = "https://repo.anaconda.com/pkgs/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedConda:
    """A conda package as the lock file has it."""

    name: str
    version: str
    url: str
    """Where its channel has it, through no mirror."""
    sha256: str

    @property
    def channel(self) -> str:
        """The name of its channel, as models and mirrors name it; its URL where it has none."""
        base = self.url.rsplit("/", 2)[0]
        named = _CHANNEL.fullmatch(base)
        if named is not None:
            return named[1]
        return "defaults" if base.startswith(_DEFAULTS) else base


@dataclass(frozen=True, slots=True, kw_only=True)
class LockWish:
    """A lock that is wanted back."""

    files: Mapping[str, bytes]
    """The lock files, by name."""
    digest: str
    """Of the lock, as the image's record has it."""
    platform: Platform
    glibc: str
    model: Path
    """Folder of the model's files: some bring wheels."""
    kept: KeptPackages | None
    """What a golden base says of its own packages."""
    channel_map: Mapping[str, str]
    access: IndexAccess


def read_conda(text: str) -> tuple[ListedConda, ...]:
    """Read conda's explicit list.

    Raises:
        ValueError: A line is no URL of a package with its sha256, or a package is there twice.
    """
    lines = (line.strip() for line in text.splitlines())
    listed = tuple(_listed(line) for line in lines if line and not line.startswith(("#", "@")))
    field_checks.checked_once(each.name for each in listed)
    return listed


def read_wheels(text: str) -> tuple[LockedWheel, ...]:
    """Read the wheels of a `pylock.toml`; where they can be had is not in it.

    Raises:
        ValueError: It is not as an image of ours has it, or a field names no wheel.
    """
    try:
        wheels = tuple(
            LockedWheel(
                name=package["name"],
                version=package["version"],
                file_name=wheel["name"],
                sha256=wheel["hashes"]["sha256"],
                size=wheel.get("size"),
            )
            for package in tomllib.loads(text).get("packages", ())
            for wheel in package["wheels"]
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a lock of ours: {type(error).__name__}: {error}") from None
    field_checks.checked_once(field_checks.checked_wheel(wheel).name for wheel in wheels)
    return wheels


def read(wish: LockWish, solver: Solver, progress: Progress) -> LockedEnv:
    """Read the lock back, with all that its installation needs.

    Raises:
        InputError: `cannot-reproduce`, the image has no lock files, or others than its record says.
        MatchError: `package-not-found`, a channel or index has not the same package any more.
        ServiceError: `channel-failed`, `index-failed`, `offline`, `program-failed`, `disk-failed`.
    """
    listed, wheels = _parsed(wish.files)
    with progress.step("looking up the locked packages") as step:
        conda = _conda(listed, wish, solver)
        step.note(f"{len(conda)} conda packages, {len(wheels)} wheels")
    locked = LockedEnv(
        platform=wish.platform,
        python=next(each.version for each in conda if each.name == "python"),
        conda=conda,
        wheels=_brought(wheels, wish, solver, progress),
    )
    if str(locked.digest) != wish.digest:
        locked = _settled(locked, wish, solver, progress)
    if str(locked.digest) != wish.digest:
        raise InputError(
            "cannot-reproduce",
            f"the lock files in the image are of the lock {locked.digest}, and its record says {wish.digest}",
            hint="the image was changed after it was made: build the model again",
        )
    return locked


def _listed(line: str) -> ListedConda:
    found = _LINE.fullmatch(line)
    archive = _ARCHIVE.fullmatch(unquote(found["file"])) if found else None
    if found is None or archive is None:
        raise ValueError(f"{line!r:.200} is no package with its sha256")
    field_checks.checked_archive(archive["name"], archive["version"], found["sha256"], archive[0])
    url = field_checks.checked_url(found["url"])
    return ListedConda(name=archive["name"], version=archive["version"], url=url, sha256=found["sha256"])


def _parsed(files: Mapping[str, bytes]) -> tuple[tuple[ListedConda, ...], tuple[LockedWheel, ...]]:
    lacking = [name for name in (CONDA_FILE, PIP_FILE) if name not in files]
    if lacking:
        raise InputError("cannot-reproduce", f"the image lacks its lock files: {', '.join(lacking)}")
    try:
        conda, wheels = read_conda(files[CONDA_FILE].decode()), read_wheels(files[PIP_FILE].decode())
        if not any(each.name == "python" for each in conda):
            raise ValueError(f"`{CONDA_FILE}` has no Python")
        return conda, wheels
    except ValueError as error:
        raise InputError("cannot-reproduce", f"a lock file in the image cannot be read: {error}") from error


def _conda(listed: Sequence[ListedConda], wish: LockWish, solver: Solver) -> tuple[CondaPackage, ...]:
    """Find what channels say of the very same archives, all that lack told at once.

    What a golden base says of its own packages stays, whatever channels say of them since; it names no mirror.
    """
    offers = solver.conda.offers(_request(listed, wish), sorted({each.name for each in listed}))
    known = {offer.package.sha256: offer.package for offer in reversed(offers)}
    for each in wish.kept.conda if wish.kept else ():
        known[each.sha256] = replace(each, url=known[each.sha256].url) if each.sha256 in known else each
    lacking = [each for each in listed if each.sha256 not in known]
    if lacking:
        raise MatchError(
            "package-not-found",
            "channels lack conda packages of the lock:\n  "
            + "\n  ".join(f"{each.name} {each.version}: {each.url} with sha256 {each.sha256}" for each in lacking),
            hint="name a mirror that keeps what was published, or wait for the channel",
        )
    return tuple(sorted((known[each.sha256] for each in listed), key=lambda package: package.name))


def _request(listed: Iterable[ListedConda], wish: LockWish) -> CondaRequest:
    packages = tuple(listed)
    return CondaRequest(
        python=next((each.version for each in packages if each.name == "python"), "3"),
        requirements=(),
        channels=tuple(dict.fromkeys(each.channel for each in packages)),
        channel_map=wish.channel_map,
        platform=CONDA_PLATFORMS[str(wish.platform)],
        glibc=wish.glibc,
        exclude_newer=None,
        offline=wish.access.offline,
    )


def _brought(
    wheels: Sequence[LockedWheel], wish: LockWish, solver: Solver, progress: Progress
) -> tuple[LockedWheel, ...]:
    """Say of each wheel what a golden base knows of it; and keep those that the model itself brings."""
    known = {each.sha256: each for each in (wish.kept.wheels if wish.kept else ())}
    there = {path.name: path for path in sorted(wish.model.rglob("*.whl")) if path.is_file()}
    placed = [known.get(each.sha256, each) for each in wheels]
    own = [
        replace(each, path=there[each.file_name].relative_to(wish.model).as_posix())
        for each in placed
        if each.file_name in there and _has_hash(there[each.file_name], each.sha256)
    ]
    solver.wheels.fetch(own, IndexAccess(directory=wish.model), progress)
    return tuple(placed)


def _has_hash(path: Path, sha256: str) -> bool:
    with path.open("rb") as stream:
        return Digest.of_stream(stream).hex == sha256


def _settled(locked: LockedEnv, wish: LockWish, solver: Solver, progress: Progress) -> LockedEnv:
    """Decide again which paths each wheel leaves to others: no file has that, and the lock's digest does."""
    platform = CONDA_PLATFORMS[str(wish.platform)]
    with scratch_directory(solver.work) as scratch:
        prefix = scratch / "env"
        solver.conda.install(locked.conda, prefix, platform, offline=wish.access.offline, progress=progress)
        request = PipRequest(
            access=wish.access,
            python=locked.python,
            interpreter=pip_part.interpreter(prefix, wish.platform),
            platform=wish.platform,
            glibc=wish.glibc,
        )
        located = wheel_places.located(locked.wheels, request, solver)
        solver.wheels.fetch([each for each in located if each.built_from is None], wish.access, progress)
        placed = [(wheel, solver.wheels.contents(wheel, locked.python_minor)) for wheel in locked.wheels]
        wheels, _ = path_owners.settle_paths(placed, package_owners.read_installed(prefix))
    return replace(locked, wheels=wheels)
