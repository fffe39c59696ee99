"""Options that many commands share, and what they are read into."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mlflow_dbimage.progress import Progress
    from mlflow_dbimage.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the shared options say."""

    as_json: bool
    quiet: bool
    given: dict[str, object]
    target: str | None

    def settings(self) -> Settings:
        """Read the settings, and say what was ignored."""
        from mlflow_dbimage.settings_sources import load

        return self.warned(load(self.given, target=self.target))

    def warned(self, settings: Settings) -> Settings:
        """Say what was ignored, on stderr."""
        for warning in settings.warnings:
            click.echo(f"warning: {warning}", err=True)
        return settings

    def progress(self) -> Progress:
        """Return the view of progress."""
        from plugin_entrypoints.progress_view import progress_on

        return progress_on(quiet=self.quiet)

    def show(self, data: object, text: str) -> None:
        """Print a result: as JSON if that is wanted, else as text."""
        click.echo(json.dumps(data, indent=2) if self.as_json else text)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--json`, `--quiet`, `-C` and `-t`, and what they say as its argument `common`."""

    @functools.wraps(command)
    def called(
        *, as_json: bool, quiet: bool, given: dict[str, object], target: str | None, **others: object
    ) -> object:
        return command(Common(as_json=as_json, quiet=quiet, given=given, target=target), **others)

    decorated: Callable[..., Any] = called
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, object]:
    given: dict[str, object] = {}
    for item in values:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"`{item}` is not of the form `key=value`")
        if key in given:
            raise click.BadParameter(f"`{key}` is given twice")
        given[key] = value
    return given


_OPTIONS = (
    click.option(
        "-t",
        "--target",
        metavar="TARGET",
        help="Destination: `//host/path`, `oci:DIR`, `docker-daemon:` or `docker-archive:FILE`, also with"
        " `dbimage:` before it. Default: the configured one.",
    ),
    click.option(
        "-C",
        "--config",
        "given",
        metavar="KEY=VALUE",
        multiple=True,
        callback=_pairs,
        help="Set a key; may be repeated. `dbimage config` lists all keys.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
)
