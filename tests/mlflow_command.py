"""`mlflow deployments`, as people type it, or in this process: MLflow's command takes four seconds to start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner

PROGRAM = Path(sys.executable).with_name("mlflow")


def typed(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `mlflow deployments` as a program, to its end, whatever that is."""
    return subprocess.run(
        [PROGRAM, "deployments", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
    )


def called(
    *arguments: object, environment: Mapping[str, str] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Call the very command that the program starts, in this process; a bug is raised.

    Args:
        arguments: What would be typed after `mlflow deployments`.
        environment: Variables to set.
        variables: More of them.
    """
    from mlflow.deployments.cli import commands

    words = [str(each) for each in arguments]
    ended = CliRunner(env={**(environment or {}), **variables}).invoke(commands, words)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return subprocess.CompletedProcess(words, ended.exit_code, ended.stdout, ended.stderr)
