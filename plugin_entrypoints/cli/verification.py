"""The commands that say whether an image is right, and whether it can be built again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow_dbimage.errors import DbimageError
    from mlflow_dbimage.image_check import Mode
    from mlflow_dbimage.settings import Settings


@click.command()
@click.argument("image")
@click.option("--static", is_flag=True, help="Read the image and run nothing.")
@click.option(
    "--runtime",
    metavar="KEY",
    help="Runtime of the cluster, such as `15.4-lts`. Default: the one that an image of ours was made for.",
)
@common
@click.pass_context
def verify(context: click.Context, common: Common, image: str, static: bool, runtime: str | None) -> None:
    """Say whether clusters of a Databricks Runtime would take an image, and whether the model of ours runs in it.

    IMAGE is `host/path:tag`, `oci:DIR`, `docker-daemon:NAME:TAG`, `docker-archive:FILE`, `rootfs:FILE`, or the
    name of a deployment at the destination. Images that are not ours are read and not run.
    """
    from mlflow_dbimage import expected_output, image_verification
    from mlflow_dbimage.backends import verification_tools

    settings = common.settings()
    expected = expected_output.read(settings.expected_output) if settings.expected_output else None
    wish = image_verification.Wish(name=image, runtime=runtime, mode=_mode(settings, static), expected=expected)
    found = image_verification.verify(wish, verification_tools(settings, common.progress()))
    _end(context, common, found.to_dict(), found.error, _told)


def _end(
    context: click.Context,
    common: Common,
    data: dict[str, Any],
    error: DbimageError | None,
    tell: Callable[[dict[str, Any]], str],
) -> None:
    """Show what was found, and end with the error where there is one."""
    if error is not None:
        data["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
    common.show(data, tell(data))
    if error is not None:
        click.echo(f"error: {error.message}", err=True)
        if error.hint is not None:
            click.echo(f"hint: {error.hint}", err=True)
        context.exit(error.exit_code)


@click.command()
@click.argument("image")
@common
@click.pass_context
def reproduce(context: click.Context, common: Common, image: str) -> None:
    """Build an image of ours again from its own record and lock files, and compare the two.

    IMAGE is named as for `verify`. Nothing is written to a destination. Where the base was no image of a registry,
    `-C base_image=` says where it is.
    """
    from mlflow_dbimage import reproduce_pipeline
    from mlflow_dbimage.backends import reproduce_tools

    settings = common.settings()
    request = reproduce_pipeline.ReproduceRequest.from_settings(image, settings)
    found = reproduce_pipeline.reproduce(request, reproduce_tools(settings, common.progress()))
    _end(context, common, found.to_dict(), found.error, terminal.reproduction)


def _mode(settings: Settings, static: bool) -> Mode:
    """Return how far to go; that builds prove less is no reason for somebody who asks."""
    if static:
        return "static"
    return "engine" if settings.verify == "engine" else "auto"


def _told(data: dict[str, Any]) -> str:
    contract = terminal.verification(data) if "findings" in data else terminal.image(data)
    return contract if data["verification"] is None else f"{contract}\n\n{terminal.proof(data['verification'])}"


COMMANDS = (verify, reproduce)
