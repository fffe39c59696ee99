"""Commands about golden bases: base build, base list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common


@click.group()
def base() -> None:
    """Build golden bases, images that hold a runtime's packages, and list them."""


@base.command("build")
@click.option("--runtime", metavar="KEY", help="Take the packages of this runtime.")
@click.option(
    "--from-env",
    "env_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Take the packages of a conda environment file, each pinned to one version.",
)
@click.option("--name", help="Name of the base. Default: the runtime's key, or the name in the file.")
@click.option(
    "--system",
    metavar="LOCATION",
    help="Operating system to build on: an image, `rootfs:FILE` or `apt:SUITE`. Default: `base_image`, else"
    " Databricks' image of the runtime.",
)
@click.option("--prefix", help="Where the environment lies in the image. Default: as the runtime or file has it.")
@click.option(
    "--allow-drift",
    is_flag=True,
    help="Take the nearest in the place of what cannot be had as listed, and record it.",
)
@common
def build(common: Common, **options: Any) -> None:
    """Make a golden base and write it to the destination."""
    from mlflow_dbimage import base_pipeline
    from mlflow_dbimage.backends import base_tools
    from mlflow_dbimage.base_request import BaseRequest

    request = BaseRequest.from_options(**options, given=common.given, target=common.target)
    common.warned(request.settings)
    receipt = base_pipeline.build(request, base_tools(request.settings, common.progress())).to_dict()
    common.show(receipt, terminal.base_receipt(receipt))


@base.command("list")
@common
def list_(common: Common) -> None:
    """List the golden bases at the destination, and those that the configuration maps runtimes to."""
    from mlflow_dbimage import base_listing
    from mlflow_dbimage.backends import base_tools

    settings, progress = common.settings(), common.progress()
    tools = base_tools(settings, progress)
    found = base_listing.listed(tools.shelf, settings.bases, tools.systems, settings.platform, progress)
    columns = ("name", "for", "runtime", "python", "packages", "drift", "size", "digest")
    rows = [[_cell(each, column) for column in columns] for each in found]
    text = terminal.table(rows, columns) if rows else "there are no golden bases"
    common.show(
        found, text + terminal.notes([f"{each['name']}: {each['problem']}" for each in found if each["problem"]])
    )


COMMANDS = (base,)


def _cell(listed: dict[str, Any], column: str) -> object:
    value = listed[column]
    if column == "size":
        return None if value is None else terminal.size(value)
    if column == "for":
        return ", ".join(value) or None
    return value.removeprefix("sha256:")[:12] if column == "digest" and value else value
