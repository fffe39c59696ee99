"""Starts the scoring program of an image from a Databricks job: entry point of a Python wheel task.

    {"python_wheel_task": {"package_name": "dbimage_launcher", "entry_point": "score",
                           "named_parameters": {"input": "/Volumes/...", "output": "/Volumes/..."}}}

Runs in the cluster's own Python, 3.8 and newer, and imports the standard library alone. A task that calls
`sys.exit` counts as failed, whatever the code: `score` returns, or raises. The parameters are those of
`/opt/dbimage/bin/score`.
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
from typing import Dict, List, Mapping, Optional, Sequence

_ROOT = "/opt/dbimage"
_LAST_LINES = 20
#: Characters of a line that are passed on at once: a model may write megabytes without an end of line.
_PIECE = 8192
_SECONDS_TO_STOP = 30


def score(parameters: Optional[Sequence[str]] = None) -> None:
    """Score, and write all that the program says to standard output as it comes.

    Args:
        parameters: Of the program; those of the task by default. Databricks gives positional ones as they are, and
            named ones as `--name=value`; a named one without a value is left out, so that a job can have a
            parameter that most of its runs do not need.

    Raises:
        RuntimeError: The program is not there or did not score; the text ends with the last that it wrote.
    """
    given = sys.argv[1:] if parameters is None else parameters
    program = os.path.join(os.environ.get("DBIMAGE_ROOT") or _ROOT, "bin", "score")
    if not os.access(program, os.X_OK):
        raise RuntimeError(
            "there is no program `%s`: this cluster does not run an image of mlflow-dbimage; its `docker_image`"
            " must be what `dbimage job-spec` writes" % program
        )
    code, last = _run([program, *_without_empty(given)])
    if code != 0:
        said = "".join(last).strip()
        raise RuntimeError(
            "the scoring program %s%s" % (_ending(code), "; it wrote last:\n%s" % said if said else "")
        )


def _run(command: List[str]) -> "tuple[int, List[str]]":
    """Run a program to its end, and return its exit code and the last lines that it wrote."""
    last: "collections.deque[str]" = collections.deque(maxlen=_LAST_LINES)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(os.environ),
        encoding="utf-8",
        errors="replace",
    )
    try:
        stream = process.stdout
        assert stream is not None
        # Written to `sys.stdout`, not inherited: the driver shows what goes through it, and nothing else.
        for piece in iter(lambda: stream.readline(_PIECE), ""):
            sys.stdout.write(piece)
            sys.stdout.flush()
            last.append(piece)
        return process.wait(), list(last)
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    """End a program that still runs: the task was cancelled. It removes its half-written output itself."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _environment(own: Mapping[str, str]) -> Dict[str, str]:
    """Leave out what configures the cluster's Python: it is not the model's."""
    environment = {name: value for name, value in own.items() if not name.startswith("PYTHON")}
    # A notebook's plots go through a module of its kernel, which the model's environment need not have.
    if environment.get("MPLBACKEND", "").startswith("module://"):
        del environment["MPLBACKEND"]
    return environment


def _without_empty(parameters: Sequence[str]) -> List[str]:
    return [each for each in parameters if not (each.startswith("--") and each.endswith("="))]


def _ending(code: int) -> str:
    return "ended with %d" % code if code > 0 else "was killed by signal %d" % -code
