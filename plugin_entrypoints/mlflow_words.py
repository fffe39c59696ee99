"""The core's results and errors in MLflow's words, for the door `deployments`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from mlflow_dbimage.errors import DbimageError

# Where MLflow has a name for what happened; else it depends on who can mend it.
_CODES = {
    "already-deployed": databricks_pb2.RESOURCE_ALREADY_EXISTS,
    "not-deployed": databricks_pb2.RESOURCE_DOES_NOT_EXIST,
    "no-evidence": databricks_pb2.RESOURCE_DOES_NOT_EXIST,
    "model-not-found": databricks_pb2.RESOURCE_DOES_NOT_EXIST,
    "base-not-found": databricks_pb2.RESOURCE_DOES_NOT_EXIST,
    "webhook-not-found": databricks_pb2.RESOURCE_DOES_NOT_EXIST,
    "build-not-found": databricks_pb2.RESOURCE_DOES_NOT_EXIST,
}
_CALLERS_FAULT = frozenset({2, 3, 4})


class DeploymentError(MlflowException, click.ClickException):  # type: ignore[misc]  # MLflow is skipped by mypy
    """An error of the core as MLflow's callers expect it.

    Python catches it as an `MlflowException`; its command, which knows only click's errors, prints one line
    in the place of a traceback, and exits with the core's own code.

    Attributes:
        code: The core's stable code, a key of `mlflow_dbimage.errors.CODES`.
    """

    def __init__(self, error: DbimageError) -> None:
        text = error.message if error.hint is None else f"{error.message}\nhint: {error.hint}"
        MlflowException.__init__(self, text, error_code=_mlflow_code(error))
        self.code = error.code
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance

    def format_message(self) -> str:
        """Give click the text."""
        return str(self.message)


def _mlflow_code(error: DbimageError) -> Any:
    fallback = (
        databricks_pb2.INVALID_PARAMETER_VALUE
        if error.exit_code in _CALLERS_FAULT
        else databricks_pb2.INTERNAL_ERROR
    )
    return _CODES.get(error.code, fallback)


@contextmanager
def errors_for_mlflow() -> Iterator[None]:
    """Turn the core's errors into `DeploymentError`; anything else is a bug and shows its traceback."""
    try:
        yield
    except DbimageError as error:
        raise DeploymentError(error) from error


def leave_command() -> None:
    """End MLflow's command here, if we are in one: what it prints next would not be true."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.exit()


def help_text() -> str:
    """Write what `mlflow deployments help -t dbimage` prints."""
    from mlflow_dbimage.settings import KEYS, Key, Scope

    def lines(*scopes: Scope) -> str:
        def line(key: Key) -> str:
            default = f" (default: {key.default_text})" if key.default_text else ""
            return f"  {key.name.ljust(16)} {key.doc}{default}"

        return "\n".join(line(key) for key in KEYS if key.scope in scopes)

    return _HELP.format(
        keys=lines(Scope.BUILD, Scope.CALL),
        expert=lines(Scope.EXPERT),
        run=lines(Scope.RUN),
        site=lines(Scope.SITE),
    )


_HELP = """\
Target `dbimage`: makes container images of models, matched to a Databricks Runtime.

Targets:
  dbimage                               the configured destination, else a folder of the user
  dbimage://registry.example/models     a container registry, one repository a deployment
  dbimage:oci:DIR  or  dbimage:/DIR     an OCI layout in a folder
  dbimage:docker-daemon:                the local Docker engine
  dbimage:docker-archive:FILE           one file for `docker load`

Keys of `-C key=value`:
{keys}

Keys for experts:
{expert}

Keys of `run-local` only:
{run}

Keys of `dbimage.toml` and of the environment (`DBIMAGE_<KEY>`), which take all keys above too:
{site}

Examples:
  mlflow deployments create -t dbimage --name churn -m models:/churn/3 -C runtime=15.4-lts
  mlflow deployments update -t dbimage://registry.example/models --name churn -m models:/churn@champion
  mlflow deployments run-local -t dbimage --name churn -m models:/churn/3 -C input=rows.csv
  mlflow deployments create -t dbimage --name churn -m models:/churn/3 -C dry_run=true

`dbimage plan MODEL_URI` shows what would be built, `dbimage doctor` what this machine can do.
"""
