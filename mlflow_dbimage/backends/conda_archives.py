"""What rattler does not check of packages: archives of local channels, and metadata in its cache."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json

# What is read to install a package, besides `paths.json`.
_METADATA = ("index.json", "link.json")


def check_local_archives(packages: Sequence[CondaPackage]) -> None:
    """Hold archives of local channels against the lock: rattler checks only what it downloads.

    Raises:
        VerificationError: `digest-mismatch`; lists all that differ.
    """
    wrong: list[str] = []
    for package in packages:
        path = local_path(package.url)
        if path is None or not path.is_file():
            continue
        with path.open("rb") as stream:
            found = Digest.of_stream(stream).hex
        if found != package.sha256:
            wrong.append(f"`{path}` has sha256 {found}, and the channel's index says {package.sha256}")
    if wrong:
        raise VerificationError("digest-mismatch", "\n".join(wrong), hint="index the channel again")


def local_path(url: str) -> Path | None:
    """Return the file that a `file:` URL names; None for others."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def unpacked_folder(cache: Path, package: CondaPackage) -> Path:
    """Return the folder to which rattler unpacks a package, in whichever way its archive is called."""
    return cache / f"{package.name}-{package.version}-{package.build}"


def spoil_unreadable(cache: Path, packages: Sequence[CondaPackage]) -> None:
    """Have packages of rattler's cache whose metadata cannot be read fetched again.

    rattler holds a package's files against its `info/paths.json`, which names nothing of `info` itself. Where that
    file cannot be read, the package counts as damaged, and rattler replaces it, under its own lock; a package on
    which another process works is left alone.
    """
    for package in packages:
        folder = unpacked_folder(cache, package)
        info = folder / "info"
        if _is_readable(info):
            continue
        with (
            suppress(FileNotFoundError, BlockingIOError),
            folder.with_name(f"{folder.name}.lock").open("rb") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_readable(info):
                (info / "paths.json").write_bytes(b"damaged")


def _is_readable(info: Path) -> bool:
    try:
        for name in _METADATA:
            with suppress(FileNotFoundError):  # not every package has each
                read_json((info / name).read_bytes())
    except ValueError:
        return False
    return True
