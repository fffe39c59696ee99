"""Wheels built from source: by uv, isolated, without credentials, and the same bytes from the same source.

The code of a source distribution runs here. It sees another home, no credentials, a fixed time, and build
requirements no newer than the rest of the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from mlflow_dbimage.backends.credentials_in_urls import restored, scrubbed, secrets_of
from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.backends.source_tree import build_requirements
from mlflow_dbimage.backends.uv_errors import error_of
from mlflow_dbimage.backends.uv_program import UvProgram, all_indexes, index_lines
from mlflow_dbimage.backends.wheel_download import Downloader
from mlflow_dbimage.backends.wheel_repack import repack
from mlflow_dbimage.backends.wheels import WheelStore, model_file
from mlflow_dbimage.build_cache import write_aside
from mlflow_dbimage.errors import MatchError, ServiceError
from mlflow_dbimage.locking.environment_solver import IndexAccess, PipRequest
from mlflow_dbimage.locking.lock_files import read_wheel, wheel_record
from mlflow_dbimage.locking.lock_inputs import tree_digest, without_credentials
from mlflow_dbimage.locking.locked_packages import LockedWheel, WheelSource

_MOST_LINES = 12


class SourceBuilder:
    """Builds wheels, and remembers those that it built.

    Args:
        uv: The program.
        records: Where is remembered which wheel came of which source.
        wheels: Where wheels are kept.
    """

    def __init__(self, uv: UvProgram, records: Path, wheels: WheelStore) -> None:
        self._uv = uv
        self._records = records
        self._wheels = wheels

    def build(self, source: WheelSource, request: PipRequest) -> LockedWheel:
        """Return the wheel that `source` gives for the request's Python.

        Raises:
            MatchError: `wrong-platform`, nothing can be built here for the target; `unsolvable`, it fails.
            ServiceError: `index-failed`, `offline`, `program-failed`.
            VerificationError: `digest-mismatch`.
        """
        if request.interpreter is None:
            raise MatchError("wrong-platform", f"{source} has no wheel, and is built only on {request.platform}")
        record = self._records / f"{self._key(source, request)}.json"
        known = self._known(record)
        if known is not None:
            return known
        with tempfile.TemporaryDirectory(prefix="dbimage-build-") as scratch:
            made = self._made(source, request, Path(scratch))
        record.parent.mkdir(parents=True, exist_ok=True)
        write_aside(record, json.dumps(wheel_record(made), sort_keys=True).encode())
        return made

    def _made(self, source: WheelSource, request: PipRequest, scratch: Path) -> LockedWheel:
        home, out = scratch / "home", scratch / "out"
        home.mkdir()
        tree = self._fetched(source, request, scratch)
        arguments = ["build", "--wheel", "--no-sources", "--python", str(request.interpreter)]
        arguments += ["--out-dir", str(out), str(tree)]
        if request.exclude_newer is not None:
            arguments += ["--exclude-newer", f"{request.exclude_newer:%Y-%m-%dT%H:%M:%SZ}"]
        result = self._uv.run(arguments, _closed(request.access), folder=scratch, home=home)
        if result.code != 0 and _closed(request.access) != request.access:
            self._read_requirements(tree, request, scratch)
            result = self._uv.run(arguments, _closed(request.access), folder=scratch, home=home)
        built = sorted(out.glob("*.whl")) if result.code == 0 else []
        if len(built) != 1:
            raise _not_built(source, result.errors, request)
        plain = scratch / built[0].name
        repack(built[0], plain)
        name, version, _, _ = parse_wheel_filename(plain.name)
        wheel = LockedWheel(
            name=name,
            version=str(version),
            file_name=plain.name,
            sha256="",
            size=None,
            built_from=source,
        )
        return self._wheels.keep(wheel, plain)

    def _read_requirements(self, tree: Path, request: PipRequest, scratch: Path) -> None:
        """Bring what a build requires into uv's cache, with the credentials that the build does not get."""
        arguments = ["pip", "install", "-r", "-", "--target", str(scratch / "requirements")]
        arguments += ["--python", str(request.interpreter), "--only-binary", ":all:"]
        lines = [*index_lines(request.access), *build_requirements(tree)]
        self._uv.run(arguments, request.access, folder=scratch, text="".join(f"{line}\n" for line in lines))

    def _fetched(self, source: WheelSource, request: PipRequest, scratch: Path) -> Path:
        """Bring the source into the scratch folder, so that building changes nothing else."""
        target = scratch / "source" / Path(source.location.rstrip("/")).name
        target.parent.mkdir()
        if source.kind == "path":
            found = model_file(source.location, request.access.directory)
            if found.is_dir():
                shutil.copytree(found, target, symlinks=True)
            else:
                shutil.copyfile(found, target)
        elif source.kind == "git":
            _clone(source, request, target)
        else:
            self._download(source, request, target)
        return target / source.subdirectory if source.subdirectory else target

    def _download(self, source: WheelSource, request: PipRequest, target: Path) -> None:
        if request.access.offline and not source.location.startswith("file:"):
            raise ServiceError(
                "offline",
                f"the wheel cache lacks what {source} was built to, and the network may not be used",
                hint="build once with the network, or copy the cache of a machine that has",
            )
        downloader = Downloader(IndexCredentials(request.access.index_urls))
        downloader.download(source.location, source.sha256, target, lambda size: None)

    def _known(self, record: Path) -> LockedWheel | None:
        with suppress(FileNotFoundError, ValueError):
            wheel = read_wheel(json.loads(record.read_bytes()))
            if self._wheels.has(wheel):
                return wheel
        return None

    def _key(self, source: WheelSource, request: PipRequest) -> str:
        content: Any = source.commit or source.sha256 or source.location
        if source.kind == "path":
            content = tree_digest(model_file(source.location, request.access.directory))
        as_of = request.exclude_newer and request.exclude_newer.isoformat()
        parts = [source.kind, content, source.subdirectory, request.python, str(request.platform), as_of]
        return hashlib.sha256(json.dumps([*parts, self._uv.version]).encode()).hexdigest()


def _closed(access: IndexAccess) -> IndexAccess:
    """Say how a build reaches its requirements: where that takes credentials, from uv's cache alone.

    Resolving has mostly read them into the cache.
    """
    return replace(access, offline=True) if secrets_of(all_indexes(access)) else access


def _clone(source: WheelSource, request: PipRequest, target: Path) -> None:
    assert source.commit is not None
    if request.access.offline and not source.location.startswith("file:"):
        raise ServiceError(
            "offline", f"the repository {source.location} is needed, and the network may not be used"
        )
    commands = (
        ["git", "clone", "--quiet", "--no-checkout", source.location, str(target)],
        ["git", "-C", str(target), "checkout", "--quiet", "--detach", source.commit],
        ["git", "-C", str(target), "submodule", "--quiet", "update", "--init", "--recursive"],
    )
    for command in commands:
        try:
            done = subprocess.run(
                command, env=_git_environment(source.location, request), capture_output=True, check=False
            )
        except OSError as error:
            raise ServiceError("program-failed", f"cannot start git: {error.strerror}") from error
        if done.returncode != 0:
            reason = scrubbed(done.stderr.decode(errors="replace")).strip()
            raise ServiceError(
                "index-failed",
                f"cannot read the repository {source.location} at {source.commit}: {reason}",
                hint="check that this machine reaches it, and its credentials",
            )


def _git_environment(url: str, request: PipRequest) -> Mapping[str, str]:
    """Tell git the credentials of the model's line by its environment: anybody can see command lines."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    whole = next((each for each in request.access.line_urls if without_credentials(each).startswith(url)), url)
    whole = restored(url, [whole])
    if whole != url:
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{whole}.insteadOf",
            "GIT_CONFIG_VALUE_0": url,
        }
    return environment


def _not_built(source: WheelSource, text: str, request: PipRequest) -> Exception:
    error = error_of(text, request)
    if error.code in ("offline", "index-failed"):
        return error
    lines = [line for line in text.splitlines() if line.strip()][-_MOST_LINES:]
    body = "\n  ".join(lines)
    return MatchError(
        "unsolvable",
        f"{source} has no wheel for the platform and cannot be built:\n  {body}",
        hint="pin a version that has a wheel, or put a wheel into the model",
    )
