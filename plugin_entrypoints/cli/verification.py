"""The command that says whether an image is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
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
    data, error = found.to_dict(), found.error
    if error is not None:
        data["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
    common.show(data, _told(data))
    if error is not None:
        click.echo(f"error: {error.message}", err=True)
        if error.hint is not None:
            click.echo(f"hint: {error.hint}", err=True)
        context.exit(error.exit_code)


def _mode(settings: Settings, static: bool) -> Mode:
    """Return how far to go; that builds prove less is no reason for somebody who asks."""
    if static:
        return "static"
    return "engine" if settings.verify == "engine" else "auto"


def _told(data: dict[str, Any]) -> str:
    contract = terminal.verification(data) if "findings" in data else terminal.image(data)
    return contract if data["verification"] is None else f"{contract}\n\n{terminal.proof(data['verification'])}"


COMMANDS = (verify,)
