"""Commands about this machine: doctor, config, cache list, cache prune."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_dbimage.cache_parts import CacheUse

_MARKS = {True: "ok", False: "NO", None: "--"}


@click.command()
@common
@click.pass_context
def doctor(context: click.Context, common: Common) -> None:
    """Say what this machine can do, and how to mend what it cannot."""
    from dataclasses import asdict

    from mlflow_dbimage import doctor as checkup
    from mlflow_dbimage.backends.probes import MachineProbes

    settings = common.settings()
    findings = checkup.findings(settings, MachineProbes(settings))
    lines = []
    for each in findings:
        lines.append(f"{_MARKS[each.ok]}  {each.topic.ljust(9)} {each.message}")
        lines.extend([f"{' ' * 14}{each.remedy}"] if each.remedy else [])
    common.show([asdict(each) for each in findings], "\n".join(lines))
    if any(each.ok is False for each in findings):
        context.exit(5)


@click.command()
@common
def config(common: Common) -> None:
    """Show every key with its value and where it came from; secrets are masked."""
    rows = common.settings().explained()
    data = [{"key": name, "value": value, "origin": origin} for name, value, origin in rows]
    common.show(
        data,
        terminal.table([(name, _plain(value), origin) for name, value, origin in rows], ("key", "value", "from")),
    )


@click.group()
def cache() -> None:
    """Look at the caches, or empty them."""


@cache.command("list")
@common
def cache_list(common: Common) -> None:
    """Show how much each part of the cache holds."""
    from mlflow_dbimage import cache_parts

    root = common.settings().cache_dir
    _show_use(common, root, cache_parts.measure(root), "holds")


@cache.command("prune")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Keep what was used within so many days; 0 deletes all.",
)
@click.option(
    "--keep-mb",
    type=click.IntRange(min=0),
    help="Of that keep no more than so many MB; what was not used for longest goes first.",
)
@common
def cache_prune(common: Common, keep_days: float, keep_mb: int | None) -> None:
    """Delete what was not used for some time; safe beside running builds."""
    from mlflow_dbimage import cache_parts

    root = common.settings().cache_dir
    pruned = cache_parts.prune(root, keep_days=keep_days, keep_size=None if keep_mb is None else keep_mb * 10**6)
    _show_use(common, root, pruned, "freed")


COMMANDS = (doctor, config, cache)


def _show_use(common: Common, root: Path, parts: tuple[CacheUse, ...], verb: str) -> None:
    total = sum(part.size for part in parts)
    data = {
        "root": str(root),
        "size": total,
        "parts": [{"part": part.part, "files": part.files, "size": part.size} for part in parts],
    }
    rows = [(part.part, part.files, terminal.size(part.size)) for part in parts]
    text = f"`{root}` {verb} {terminal.size(total)}"
    common.show(data, f"{terminal.table(rows, ('part', 'files', 'size'))}\n\n{text}" if rows else text)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
