"""The `dbimage` command: results on stdout, progress and messages on stderr, documented exit codes.

    __init__      the group, and how errors end the process
    options       options that many commands share, and what they are read into
    extras        what commands need that is not installed with us
    images        build, rebase, plan, list, inspect, delete
    bases         base build, base list
    verification  verify, reproduce
    evidence      scan, trust
    jobs          job-spec
    runtimes      runtimes list, runtimes show, runtimes match
    machine       doctor, config, cache list, cache prune
    service       worker, reconcile, webhook check
    serving       webhook serve
    webhooks      webhook register, list, test
    job_entry     job-entry, and the entry point of wheel tasks

`--help` imports nothing heavy: every command imports the core when it runs.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import NoReturn

import click

from mlflow_dbimage import __version__
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.short_process import short_process
from plugin_entrypoints import terminal
from plugin_entrypoints.cli import (
    bases,
    evidence,
    images,
    job_entry,
    jobs,
    machine,
    runtimes,
    service,
    serving,
    verification,
    webhooks,
)

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dbimage")
def dbimage() -> None:
    """Container images of registered MLflow models, matched to a Databricks Runtime.

    Exit codes: 0 done, 1 a bug, 2 usage, 3 the input is wrong, 4 no match or no solution, 5 a service failed,
    6 verification failed, 130 interrupted.
    """


_MODULES = (
    images,
    bases,
    verification,
    evidence,
    jobs,
    runtimes,
    service,
    machine,
    job_entry,
)

for module in _MODULES:
    for command in module.COMMANDS:
        dbimage.add_command(command)
for command in (*serving.COMMANDS, *webhooks.COMMANDS):
    service.webhook.add_command(command)


def main() -> NoReturn:
    """Run the command of this process's arguments, and exit."""
    with short_process():
        code = _run(sys.argv[1:])
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        result = dbimage.main(arguments, prog_name="dbimage", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was finished is kept, and no name has moved", err=True)
        return _INTERRUPTED
    except (
        BrokenPipeError,
        SystemExit,
    ):  # whoever read our output has gone; click exits when it notices first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DbimageError as error:
        return _failed(error, as_json="--json" in arguments)
    except Exception:
        traceback.print_exc()
        click.echo("this is a bug in mlflow-dbimage; please report it with the lines above", err=True)
        return 1
    # A command whose own result tells of the failure returns it.
    code = result.exit_code if isinstance(result, DbimageError) else result
    return code if isinstance(code, int) else 0


def _failed(error: DbimageError, *, as_json: bool) -> int:
    if as_json:
        report = {"code": error.code, "message": error.message, "hint": error.hint}
        click.echo(json.dumps({"error": report, **error.details}, indent=2))
    if error.code == "not-proven":
        click.echo(terminal.proof(error.details["verification"]), err=True)
    click.echo(f"error: {error.message}", err=True)
    if error.hint is not None:
        click.echo(f"hint: {error.hint}", err=True)
    return error.exit_code
