"""The packed environment's own Python: it compiles byte code and tells which modules a model imports.

Both are done before the environment is laid out, in processes that get no credentials and a fixed environment,
so that their results are the same everywhere. Neither is possible for another platform than this machine's.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.descriptor import Platform

#: 1980-01-01T00:00:01Z in seconds: the time of every file in our layers, which byte code must state.
_MTIME = 315532801
_TIME_LIMIT = 900.0
_PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What loading a model and predicting on its example imported."""

    modules: frozenset[str]
    """Sources relative to the prefix."""
    error: str | None
    """What stopped it, in one line, or None."""


class EnvironmentPython:
    """Runs scripts with the Python of an installed environment."""

    def can_run(self, target: Platform) -> bool:
        """Whether this machine runs programs for `target`."""
        machine = _PROCESSORS.get(platform.machine().lower())
        return sys.platform == "linux" and (target.os, target.architecture) == ("linux", machine)

    def compile(
        self, prefix: Path, image_prefix: str, groups: Sequence[Sequence[str]], directory: Path
    ) -> Mapping[str, Path]:
        """Compile sources, a group at a time, each group in a fresh process (`packed_env.BytecodeCompiler`).

        Raises:
            ServiceError: `program-failed`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        tag = self._cache_tag(prefix)
        targets = {source: _bytecode_path(source, tag) for group in groups for source in group}
        request = {
            "mtime": _MTIME,
            "jobs": os.cpu_count() or 1,
            "groups": [
                [
                    [str(prefix / source), f"{image_prefix}/{source}", str(directory / targets[source])]
                    for source in group
                ]
                for group in groups
            ],
        }
        self._run(prefix, "compile_bytecode.py", (), directory, stdin=json.dumps(request))
        return {target: directory / target for target in targets.values() if (directory / target).is_file()}

    def rehearse(self, prefix: Path, library: Path, model: Path, example: str | None, scratch: Path) -> Rehearsal:
        """Load the model and predict on its example, in a process of its own.

        Raises:
            ServiceError: `program-failed`, the process did not even end.
        """
        output = scratch / "modules.json"
        self._run(prefix, "loaded_modules.py", (str(library), str(model), example or "", str(output)), scratch)
        found = json.loads(output.read_bytes())
        return Rehearsal(modules=frozenset(found["modules"]), error=found["error"])

    def _cache_tag(self, prefix: Path) -> str:
        names = sorted(path.name for path in (prefix / "lib").glob("python3.*"))
        if not names:
            raise ServiceError("program-failed", f"there is no Python in the environment `{prefix}`")
        return "cpython-" + names[0].removeprefix("python").replace(".", "")

    def _run(self, prefix: Path, script: str, arguments: Sequence[str], scratch: Path, stdin: str = "") -> None:
        resource = files("mlflow_dbimage.backends.environment_scripts") / script
        with as_file(resource) as path:
            command = [str(prefix / "bin" / "python"), "-I", "-B", str(path), *arguments]
            try:
                done = subprocess.run(
                    command,
                    input=stdin,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    cwd=scratch,
                    env=_environment(prefix, scratch),
                    timeout=_TIME_LIMIT,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServiceError("program-failed", f"the environment's Python failed: {error}") from error
        if done.returncode != 0:
            tail = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise ServiceError("program-failed", f"the environment's Python ended with {done.returncode}: {tail}")


def _environment(prefix: Path, scratch: Path) -> dict[str, str]:
    """Nothing of the caller's environment: no credential, no locale, no path decides what is imported."""
    return {
        "PATH": str(prefix / "bin"),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "MLFLOW_TRACKING_URI": (scratch / "mlruns").as_uri(),
        "MPLCONFIGDIR": str(scratch),
    }


def _bytecode_path(source: str, tag: str) -> str:
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
