"""Commands about images: build, rebase, plan, list, inspect, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli import evidence
from plugin_entrypoints.cli.options import Common, common
from plugin_entrypoints.cli.signed_by import SignedBy, signed_by

if TYPE_CHECKING:
    from mlflow_dbimage.build_request import BuildRequest, Mode
    from mlflow_dbimage.destinations.deployment import Destination

_MODES = ("create", "update", "replace")


@click.command()
@click.argument("model_uri")
@click.option("--name", required=True, help="Name of the deployment.")
@click.option(
    "--mode",
    type=click.Choice(_MODES),
    default="create",
    show_default=True,
    help="`create` refuses a name that exists, `update` one that does not.",
)
@common
def build(common: Common, model_uri: str, name: str, mode: Mode) -> None:
    """Make the image of a model and write it to the destination.

    MODEL_URI is `models:/name/3`, `models:/name@alias`, `runs:/ID/model` or a directory.
    """
    request = _request(common, model_uri, name, mode)
    if request.settings.dry_run:
        _show_plan(common, request)
    else:
        _build(common, request)


@click.command()
@click.argument("name")
@click.option("--base", required=True, metavar="REF", help="The base to lay it on.")
@click.option("--name", "new_name", metavar="NEW_NAME", help="Leave NAME as it is, and call the result so.")
@click.option("--runtime", metavar="KEY", help="The runtime that the base is for, where it is for another one.")
@common
def rebase(common: Common, name: str, base: str, new_name: str | None, runtime: str | None) -> None:
    """Lay the environment and model of a deployment on another base, as they are.

    NAME is a deployment. Nothing is solved, installed or packed.
    """
    from mlflow_dbimage import rebase_pipeline
    from mlflow_dbimage.backends import rebase_tools
    from mlflow_dbimage.errors import UsageError

    settings = common.settings()
    if settings.dry_run:
        raise UsageError("not-supported", "a rebase has no dry run", hint="give the result a name of its own")
    request = rebase_pipeline.RebaseRequest.from_strings(name, base, new_name, runtime, settings)
    receipt = rebase_pipeline.rebase(request, rebase_tools(settings, common.progress())).to_dict()
    common.show(receipt, terminal.receipt(receipt))


@click.command()
@click.argument("model_uri")
@common
def plan(common: Common, model_uri: str) -> None:
    """Decide model, base image and every package, and write nothing."""
    _show_plan(common, _request(common, model_uri, None, "replace"))


@click.command("list")
@common
def list_(common: Common) -> None:
    """List what is deployed at the destination."""
    found = [deployment.to_dict() for deployment in _destination(common).deployments()]
    columns = ("name", "version", "runtime", "python", "size", "digest")
    rows = [[_cell(each, column) for column in columns] for each in found]
    common.show(found, terminal.table(rows, columns) if rows else "nothing is deployed")


@click.command()
@click.argument("name")
@click.option("--sbom", "shown", flag_value="sbom", help="Print its bill of materials (CycloneDX).")
@click.option("--spdx", "shown", flag_value="spdx", help="Print its bill of materials (SPDX).")
@click.option("--provenance", "shown", flag_value="provenance", help="Print how it was made (SLSA).")
@click.option("--report", "shown", flag_value="report", help="Print what its verification found.")
@signed_by
@common
def inspect(common: Common, name: str, shown: str | None, signed: SignedBy) -> None:
    """Show what the image of a deployment is made from, read from the image itself, or what is attached to it."""
    from dataclasses import asdict

    from mlflow_dbimage.errors import InputError

    destination = _destination(common)
    deployment = destination.deployment(name)
    if deployment is None:
        raise InputError(
            "not-deployed", f"no deployment is named `{name}`", hint="`dbimage list` shows those that are"
        )
    if shown is not None:
        click.echo(evidence.document(destination.beside(name), deployment, shown, signed))
        return
    data = {**deployment.to_dict(), "record": asdict(deployment.record) if deployment.record else None}
    common.show(data, terminal.deployment(data))


@click.command()
@click.argument("name")
@common
def delete(common: Common, name: str) -> None:
    """Take the name of a deployment away; no error where there is none."""
    deleted = _destination(common).delete(name)
    common.show(
        {"name": name, "deleted": deleted},
        f"deleted `{name}`" if deleted else f"no deployment was named `{name}`",
    )


COMMANDS = (build, rebase, plan, list_, inspect, delete)


def _request(common: Common, model_uri: str, name: str | None, mode: Mode) -> BuildRequest:
    from mlflow_dbimage.build_request import BuildRequest

    request = BuildRequest.from_strings(name, model_uri, common.given, target=common.target, mode=mode)
    common.warned(request.settings)
    return request


def _build(common: Common, request: BuildRequest) -> None:
    from mlflow_dbimage import pipeline
    from mlflow_dbimage.backends import default_tools

    tools = default_tools(request.settings, common.progress())
    receipt = pipeline.build(request, tools).to_dict()
    common.show(receipt, terminal.receipt(receipt))


def _show_plan(common: Common, request: BuildRequest) -> None:
    from mlflow_dbimage import pipeline
    from mlflow_dbimage.backends import default_tools

    with pipeline.plan(request, default_tools(request.settings, common.progress())) as planned:
        data = planned.to_dict()
    common.show(data, terminal.plan(data))


def _destination(common: Common) -> Destination:
    from mlflow_dbimage.backends import open_destination

    return open_destination(common.settings(), common.progress())


def _cell(deployment: dict[str, Any], column: str) -> object:
    value = deployment[column]
    if column == "size":
        return terminal.size(value)
    return value.removeprefix("sha256:")[:12] if column == "digest" else value
