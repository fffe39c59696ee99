"""Wheels built from source: in the sandbox, without a network, and the same bytes from the same source.

The code of a source distribution runs here. It sees itself, the target's Python, a fixed time, and build
requirements no newer than the rest of the environment, which were brought before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from mlflow_dbimage.backends.build_environment import BuildEnvironment
from mlflow_dbimage.backends.credentials_in_urls import restored, scrubbed
from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.backends.sandbox import Sandbox
from mlflow_dbimage.backends.sandbox_output import read_result
from mlflow_dbimage.backends.source_tree import BuildSystem, build_system
from mlflow_dbimage.backends.uv_errors import error_of
from mlflow_dbimage.backends.uv_program import UvProgram
from mlflow_dbimage.backends.wheel_download import Downloader
from mlflow_dbimage.backends.wheel_repack import repack
from mlflow_dbimage.backends.wheels import WheelStore, model_file
from mlflow_dbimage.build_cache import write_aside
from mlflow_dbimage.errors import MatchError, ServiceError
from mlflow_dbimage.locking.environment_solver import PipRequest
from mlflow_dbimage.locking.lock_files import read_wheel, wheel_record
from mlflow_dbimage.locking.lock_inputs import tree_digest, without_credentials
from mlflow_dbimage.locking.locked_packages import LockedWheel, WheelSource
from mlflow_dbimage.oci.documents import read_json

_MOST_LINES = 12
_ANSWER = "answer.json"
#: At least so long may a build take: compilers are slower than models.
_SECONDS = 3600.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a backend is asked about."""

    place: Path
    """The folder of the sandbox."""
    source: Path
    subdirectory: str
    system: BuildSystem

    def arguments(self, task: str) -> tuple[str, ...]:
        """Return the arguments of `call_build_backend`."""
        places = (self.place / "source", self.place / "out", self.place / _ANSWER)
        words = (task, self.source, self.subdirectory, *places, self.system.backend, *self.system.backend_path)
        return tuple(map(str, words))


class SourceBuilder:
    """Builds wheels, and remembers those that it built.

    Args:
        uv: Brings what builds require.
        records: Where is remembered which wheel came of which source.
        wheels: Where wheels are kept.
        sandbox: Gives what runs builds.
    """

    def __init__(self, uv: UvProgram, records: Path, wheels: WheelStore, sandbox: Callable[[], Sandbox]) -> None:
        self._uv = uv
        self._records = records
        self._wheels = wheels
        self._sandbox = sandbox

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
        tree = self._fetched(source, request, scratch)
        system = build_system(tree)
        built = self._built(tree, system, source, request, scratch)
        plain = scratch / built.name
        repack(built, plain)
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

    def _built(
        self, tree: Path, system: BuildSystem, source: WheelSource, request: PipRequest, scratch: Path
    ) -> Path:
        """Ask the backend what else it needs, and for the wheel; both in the sandbox, without a network."""
        place = scratch / "build"
        place.mkdir()
        copy = place / tree.name
        (shutil.move if tree.is_dir() else shutil.copyfile)(tree, copy)
        (place / "out").mkdir()
        asked = _Asked(place=place, source=copy, subdirectory=source.subdirectory or "", system=system)
        environment = BuildEnvironment.make(scratch / "first", system.requires, request, self._uv)
        more = self._answer("requires", asked, environment, source, request)
        if not isinstance(more, list):
            raise _not_built(source, "the backend says no list of what it needs", request)
        if more:
            requires = (*system.requires, *map(str, more))
            environment = BuildEnvironment.make(scratch / "second", requires, request, self._uv)
        name = self._answer("wheel", asked, environment, source, request)
        wheel = place / "out" / Path(str(name)).name
        if (place / "out").is_symlink() or wheel.is_symlink() or not wheel.is_file() or wheel.suffix != ".whl":
            raise _not_built(source, "the backend left no wheel", request)
        return wheel

    def _answer(
        self, task: str, asked: _Asked, environment: BuildEnvironment, source: WheelSource, request: PipRequest
    ) -> Any:
        assert request.interpreter is not None
        sandbox = self._sandbox()
        seconds = max(sandbox.limits.seconds, _SECONDS)
        resource = files("mlflow_dbimage.backends.environment_scripts") / "call_build_backend.py"
        with as_file(resource) as script:
            ended = replace(sandbox, limits=replace(sandbox.limits, seconds=seconds)).run(
                [str(environment.python), "-B", str(script), *asked.arguments(task)],
                scratch=asked.place,
                environment=_variables(environment, asked.place, request.interpreter),
                readable=(script, environment.folder, request.interpreter.parent.parent),
            )
        if ended.code != 0:
            raise _not_built(source, ended.errors, request)
        try:
            return read_json(read_result(asked.place / _ANSWER))
        except ValueError:
            raise _not_built(source, "the backend left no answer", request) from None

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
        return target

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


def _variables(environment: BuildEnvironment, place: Path, interpreter: Path) -> dict[str, str]:
    """Nothing of the caller's: no credential, and nothing that decides what is built."""
    return {
        "PATH": f"{environment.folder}/bin:{interpreter.parent}:{_PATH}",
        "HOME": str(place),
        "TMPDIR": str(place),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "VIRTUAL_ENV": str(environment.folder),
        # For programs that a build starts with another Python than the environment's.
        "PYTHONPATH": str(environment.site),
        # Wheels must not depend on when or in which order they are built.
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "315532801",
    }


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
