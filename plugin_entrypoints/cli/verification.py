"""The command that holds images against what clusters need of them."""

from __future__ import annotations

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common


@click.command()
@click.argument("image")
@click.option(
    "--static",
    is_flag=True,
    default=True,
    help="Read the image and run nothing: the default, and so far the only way.",
)
@click.option(
    "--runtime",
    metavar="KEY",
    help="Runtime of the cluster, such as `15.4-lts`. Default: the one that an image of ours was made for.",
)
@common
@click.pass_context
def verify(context: click.Context, common: Common, image: str, static: bool, runtime: str | None) -> None:
    """Say whether clusters of a Databricks Runtime would take an image, and how to mend what they lack.

    IMAGE is `host/path:tag`, `oci:DIR`, `docker-daemon:NAME:TAG`, `docker-archive:FILE`, `rootfs:FILE`, or the
    name of a deployment at the destination.
    """
    from mlflow_dbimage import static_verification
    from mlflow_dbimage.backends import verification_tools

    tools = verification_tools(common.settings(), common.progress())
    report = static_verification.verify(image, runtime, tools)
    data, error = report.to_dict(), report.error
    if error is not None:
        data["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
    common.show(data, terminal.verification(data))
    if error is not None:
        click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)
        context.exit(error.exit_code)


COMMANDS = (verify,)
