"""The packed environment's own Python: it compiles byte code and tells which modules a model imports.

Both are done before the environment is laid out, in a sandbox, without credentials and with fixed variables, so
that their results are the same everywhere. Neither is possible for another platform than this machine's.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from mlflow_dbimage.backends.kept_bytecode import KeptBytecode
from mlflow_dbimage.backends.sandbox import Sandbox
from mlflow_dbimage.backends.sandbox_output import printable, read_result
from mlflow_dbimage.errors import InputError, ServiceError, disk_errors
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.documents import read_json

#: 1980-01-01T00:00:01Z in seconds: the time of every file in our layers, which byte code must state.
_MTIME = 315532801
#: Characters of what stopped a model that are passed on.
_LONGEST = 500
#: What the compiler names a file by as soon as it is whole.
_KEY = re.compile("[0-9a-f]{64}")
_PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What loading a model and predicting on its example imported."""

    modules: frozenset[str]
    """Sources relative to the prefix."""
    error: str | None
    """What stopped it, in one line, or None."""
    check: Mapping[str, Any] | None
    """The report of the model's self-check, as `scoring.self_check` writes it; None where it came to none."""


class EnvironmentPython:
    """Runs scripts with the Python of an installed environment.

    Args:
        kept: Folder of the byte code that is kept between builds.
        sandbox: Gives what runs them, when there is something to run: finding it starts programs.
    """

    def __init__(self, kept: Path, sandbox: Callable[[], Sandbox]) -> None:
        self._kept = kept
        self._sandbox = sandbox

    @property
    def confinement(self) -> str:
        """How they are kept apart from this machine."""
        return self._sandbox().confinement

    def can_run(self, target: Platform) -> bool:
        """Whether this machine runs programs for `target`."""
        machine = _PROCESSORS.get(platform.machine().lower())
        return sys.platform == "linux" and (target.os, target.architecture) == ("linux", machine)

    def compile(self, prefix: Path, image_prefix: str, sources: Iterable[str]) -> Mapping[str, Path]:
        """Compile what is not kept yet (`packed_env.BytecodeCompiler`).

        Raises:
            ServiceError: `program-failed`, `disk-failed`.
        """
        tag = self._cache_tag(prefix)
        kept = KeptBytecode(self._folder(prefix))
        found: dict[str, Path] = {}
        missing: dict[str, str] = {}
        for source in sources:
            key = kept.key((prefix / source).read_bytes(), f"{image_prefix}/{source}")
            path = kept.find(key)
            if path is None:
                missing[source] = key
            else:
                found[source] = path
        if missing:
            found |= self._compiled(prefix, image_prefix, missing, kept)
        return {_bytecode_path(source, tag): path for source, path in found.items()}

    def _compiled(
        self, prefix: Path, image_prefix: str, keys: Mapping[str, str], kept: KeptBytecode
    ) -> dict[str, Path]:
        """Compile sources, keep what came of them, and return that by source."""
        with disk_errors(), tempfile.TemporaryDirectory(dir=kept.directory, prefix=".new-") as folder:
            made = {source: Path(folder) / key for source, key in keys.items()}
            request = {
                "mtime": _MTIME,
                "jobs": min(os.cpu_count() or 1, len(made)),
                "tasks": [
                    [str(prefix / source), f"{image_prefix}/{source}", str(path)] for source, path in made.items()
                ],
            }
            self._run_compiler(prefix, Path(folder), request)
            return {source: kept.keep(keys[source], path) for source, path in made.items() if path.is_file()}

    def _run_compiler(
        self, prefix: Path, folder: Path, request: Mapping[str, Any], handed: Sequence[socket.socket] = ()
    ) -> None:
        text = json.dumps(request)
        # Without `site`: what is kept must not depend on what other packages have Python do when it starts.
        self._run(prefix, "compile_bytecode.py", (), folder, flags=("-S",), text=text, handed=handed)

    def _folder(self, prefix: Path) -> Path:
        """Return where the byte code of this Python is: what compiles it is one package of conda."""
        records = sorted((prefix / "conda-meta").glob("python-[0-9]*.json"))
        if not records:
            raise ServiceError("program-failed", f"there is no Python in the environment `{prefix}`")
        record = read_json(records[0].read_bytes())
        identity = [record["version"], record["build"], record.get("sha256") or ""]
        return self._kept / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]

    def rehearse(
        self, prefix: Path, image_prefix: str, library: Path, model: Path, *, example: str | None, scratch: Path
    ) -> Rehearsal:
        """Check the model as its image will check itself, in a process of its own.

        What it imports gets byte code meanwhile, made and kept by another process.

        Raises:
            InputError: `model-stopped`, it used more than it may.
            ServiceError: `program-failed`, the process did not come to its end.
        """
        output = scratch / "modules.json"
        kept = KeptBytecode(self._folder(prefix))
        arguments = (str(library), str(model), example or "", str(output), str(kept.directory), image_prefix)
        with self._compiling(prefix, image_prefix, kept) as (asking, made):
            self._run(
                prefix,
                "loaded_modules.py",
                (*arguments, str(asking.fileno()), str(made)),
                scratch,
                readable=(library, model, kept.directory, made),
                handed=[asking],
            )
        return _rehearsal(read_result(output))

    @contextmanager
    def _compiling(
        self, prefix: Path, image_prefix: str, kept: KeptBytecode
    ) -> Iterator[tuple[socket.socket, Path]]:
        """Compile, and keep at the end, what is asked for by a socket; give that, and the folder where it appears.

        It comes from a process that imports nothing but Python's own library: images of other models can trust it.
        """
        asking, answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with (
            disk_errors(),
            asking,
            answering,
            tempfile.TemporaryDirectory(dir=kept.directory, prefix=".new-") as folder,
        ):
            made = Path(folder)
            request = {
                "mtime": _MTIME,
                "jobs": os.cpu_count() or 1,
                "socket": answering.fileno(),
                "prefix": str(prefix),
                "image_prefix": image_prefix,
                "output": folder,
            }

            def compile_on_demand() -> None:
                # Without it the model's process compiles for itself, and `compile` tells what is wrong. However it
                # ends, nobody may go on waiting for its answers.
                with answering, suppress(ServiceError, InputError, OSError):
                    self._run_compiler(prefix, made, request, handed=[answering])

            compiler = threading.Thread(target=compile_on_demand, name="compiling on demand")
            compiler.start()
            try:
                yield asking, made
            finally:
                asking.close()
                compiler.join()
            for path in made.iterdir():
                if _KEY.fullmatch(path.name):
                    kept.keep(path.name, path)

    def _cache_tag(self, prefix: Path) -> str:
        names = sorted(path.name for path in (prefix / "lib").glob("python3.*"))
        if not names:
            raise ServiceError("program-failed", f"there is no Python in the environment `{prefix}`")
        return "cpython-" + names[0].removeprefix("python").replace(".", "")

    def _run(
        self,
        prefix: Path,
        script: str,
        arguments: Sequence[str],
        scratch: Path,
        *,
        flags: Sequence[str] = (),
        readable: Sequence[Path] = (),
        text: str = "",
        handed: Sequence[socket.socket] = (),
    ) -> None:
        resource = files("mlflow_dbimage.backends.environment_scripts") / script
        with as_file(resource) as path:
            # Not -I, which would have it ignore the hash seed too: sets in byte code are in the order of hashes
            # before Python 3.11. The environment below has no other variable of Python's.
            command = [str(prefix / "bin" / "python"), "-s", "-B", *flags, str(path), *arguments]
            ended = self._sandbox().run(
                command,
                scratch=scratch,
                environment=_environment(prefix, scratch),
                readable=(prefix, path, *readable),
                text=text,
                handed=handed,
            )
        if ended.code != 0:
            tail = "\n".join(ended.errors.strip().splitlines()[-5:])
            raise ServiceError("program-failed", f"the environment's Python ended with {ended.code}: {tail}")


def _rehearsal(data: bytes) -> Rehearsal:
    """Read what a rehearsal wrote, or what the model wrote in its place."""
    try:
        found = read_json(data)
        modules, error, check = frozenset(map(str, found["modules"])), found["error"], found["check"]
    except (ValueError, RecursionError, TypeError, LookupError) as reason:
        raise ServiceError(
            "program-failed", "the environment's Python left something else than its result"
        ) from reason
    return Rehearsal(
        modules=modules,
        error=None if error is None else printable(str(error), _LONGEST),
        check=check if isinstance(check, dict) else None,
    )


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
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def _bytecode_path(source: str, tag: str) -> str:
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
