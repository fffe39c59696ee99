"""Commands of the service: webhook check. The group `webhook` takes the door's own commands too."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from mlflow_dbimage.service.events import Event, Ignored


@click.group()
def webhook() -> None:
    """Turn events of the model registry into images."""


@webhook.command()
@click.argument("event", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@common
def check(common: Common, event: Path) -> None:
    """Say which rule an event meets, why the others do not match, and what would be built.

    EVENT is a file with the body of a delivery, of MLflow or of Databricks. All rules are checked, too.
    """
    from mlflow_dbimage.service import rules
    from mlflow_dbimage.service.events import Ignored

    known = rules.read(common.settings().rules)
    read = _read_event(event.read_bytes())
    if isinstance(read, Ignored):
        common.show({"ignored": read.reason}, f"ignored: {read.reason}")
        return
    explanation = rules.explain(read, known)
    order = explanation.rule.order(read) if explanation.rule is not None else None
    data = {
        "event": read.to_dict(),
        "rule": explanation.rule.name if explanation.rule is not None else None,
        "name": order.name if order is not None else None,
        "request": order.request if order is not None else None,
        "reasons": [{"rule": name, "reason": reason} for name, reason in explanation.reasons],
    }
    builds = f"builds `{order.name}` by the rule `{order.rule}`" if order is not None else "builds nothing"
    table = terminal.table(explanation.reasons, ("rule", "says")) if known else "there are no rules"
    common.show(data, f"{read}: {builds}\n\n{table}")


COMMANDS = (webhook,)


def _read_event(body: bytes) -> Event | Ignored:
    import json

    from mlflow_dbimage.service.events import from_databricks, from_mlflow

    try:
        legacy = "event" in json.loads(body)
    except (ValueError, TypeError):
        legacy = False  # the reader says what is wrong
    if legacy:
        return from_databricks(body, received=time.time())
    return from_mlflow(body, delivery=None, received=time.time())
