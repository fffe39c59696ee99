"""The command job-entry, and `run`, the same as the entry point of a Databricks wheel task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from mlflow_dbimage.errors import DbimageError
    from mlflow_dbimage.service.model_updates import ModelUpdate


@click.command("job-entry")
@click.option("--updates", metavar="JSON", help="What a trigger gives: `{{job.trigger.model.updates}}`.")
@click.option("--model-name", help="What a deployment job gives, or who runs the job by hand.")
@click.option("--model-version", help="Its version.")
@click.option("--registry", metavar="NAME", help="Registry of the models, such as `databricks-uc`.")
@common
def job_entry(
    common: Common, updates: str | None, model_name: str | None, model_version: str | None, registry: str | None
) -> DbimageError | None:
    """Build the images of what started a Databricks job: each version that its parameters name.

    All are tried; if any fails, the run fails.
    """
    from mlflow_dbimage.service import model_updates

    built: list[dict[str, Any]] = []
    failed: list[tuple[ModelUpdate, DbimageError]] = []
    for update in model_updates.read(updates, model_name, model_version):
        outcome = _built(common, update, registry)
        if isinstance(outcome, dict):
            built.append(outcome)
        else:
            failed.append((update, outcome))
    common.show(
        {"built": built, "failed": [_told(update, error) for update, error in failed]},
        "\n\n".join(terminal.receipt(each) for each in built),
    )
    return _all_of(failed) if failed else None


COMMANDS = (job_entry,)


def run() -> None:
    """Run `job-entry` with this process's arguments, as a wheel task does: returns or raises, never exits.

    Raises:
        DbimageError: Whatever fails, for Databricks to show.
        UsageError: `bad-value`, for arguments that the command does not take.
    """
    from mlflow_dbimage.errors import UsageError

    try:
        failure = job_entry.main(prog_name="dbimage job-entry", standalone_mode=False)
    except click.ClickException as error:
        raise UsageError("bad-value", f"the task's parameters are wrong: {error.format_message()}") from error
    except SystemExit:
        return  # click's, where whoever reads our output has gone
    if failure:
        raise failure


def _built(common: Common, update: ModelUpdate, registry: str | None) -> dict[str, Any] | DbimageError:
    from mlflow_dbimage import pipeline
    from mlflow_dbimage.backends import default_tools
    from mlflow_dbimage.build_request import BuildRequest
    from mlflow_dbimage.errors import DbimageError

    try:
        request = BuildRequest.from_strings(
            update.deployment, update.uri(registry), common.given, target=common.target, mode="replace"
        )
        common.warned(request.settings)
        return pipeline.build(request, default_tools(request.settings, common.progress())).to_dict()
    except DbimageError as error:
        click.echo(f"error: {update.name} version {update.version}: {error.message}", err=True)
        if error.hint is not None:
            click.echo(f"hint: {error.hint}", err=True)
        return error


def _told(update: ModelUpdate, error: DbimageError) -> dict[str, str | None]:
    told = {"model": update.name, "version": update.version, "code": error.code}
    return {**told, "message": error.message, "hint": error.hint}


def _all_of(failures: list[tuple[ModelUpdate, DbimageError]]) -> DbimageError:
    """Return one error that says all; its kind is the first one's."""
    first = failures[0][1]
    if len(failures) == 1:
        return first
    lines = "".join(f"\n  {update.name} version {update.version}: {error.message}" for update, error in failures)
    return type(first)(first.code, f"{len(failures)} models failed:{lines}", hint=first.hint)
