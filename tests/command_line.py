"""`dbimage` and `mlflow deployments`, typed as people do, or called in this process.

A program takes one second to start, and MLflow's four. Tests of what a command says and does call it; each command
is typed at least once, and so is what is about processes: signals, pipes, what is imported.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess

import pytest

#: By what is typed: what it calls.
_CALLS = {
    "dbimage": ("plugin_entrypoints.cli", "main"),
    "mlflow deployments": ("mlflow.deployments.cli", "commands"),
}


def typed(program: str, *arguments: object, **variables: str) -> CompletedProcess[str]:
    """Run a program to its end, whatever that is.

    Args:
        program: `dbimage`, or another of this Python's environment, with the first of its arguments.
        arguments: The others.
        variables: Environment variables to set.
    """
    name, *first = program.split()
    command = [str(Path(sys.executable).with_name(name)), *first, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)


def called(program: str, *arguments: object, **variables: str) -> CompletedProcess[str]:
    """Call in this process what the program would, with the same arguments as `typed`."""
    module, function = _CALLS[program]
    main = getattr(import_module(module), function)
    words = [*program.split()[:1], *map(str, arguments)]
    outputs = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(outputs[0]), redirect_stderr(outputs[1]):
        patch.setattr(sys, "argv", words)
        for name, value in variables.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    said = [output.buffer.getvalue().decode() for output in outputs]  # type: ignore[attr-defined]
    return CompletedProcess(words, int(ended.value.code or 0), *said)
