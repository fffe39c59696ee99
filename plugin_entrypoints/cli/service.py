"""Commands of the service: worker, reconcile, webhook check. The group `webhook` takes the door's own too."""

from __future__ import annotations

import signal
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.extras import SERVICE, must_have
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from mlflow_dbimage.service.events import Event, Ignored
    from mlflow_dbimage.service.reconcile import Findings


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
    from mlflow_dbimage.setting_kinds import shown

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
        "request": shown(order.request) if order is not None else None,
        "reasons": [{"rule": name, "reason": reason} for name, reason in explanation.reasons],
    }
    builds = f"builds `{order.name}` by the rule `{order.rule}`" if order is not None else "builds nothing"
    table = terminal.table(explanation.reasons, ("rule", "says")) if known else "there are no rules"
    common.show(data, f"{read}: {builds}\n\n{table}")


@click.command()
@common
def worker(common: Common) -> None:
    """Make what is queued, each build in a process of its own, until told to stop by SIGTERM or SIGINT.

    Also asks the registry, now and then, for what no event told, and tells it how its versions' builds stand.
    """
    must_have(SERVICE)
    from mlflow_dbimage.backends.service_worker import run_worker

    stop = _stopped_by_signals()
    run_worker(common.settings(), lambda line: click.echo(line, err=True), stop)
    common.show({"stopped": True}, "stopped")


@click.command()
@click.option("--once", is_flag=True, help="Look once and end, instead of every `reconcile_every` seconds.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Ask for versions created since then (UTC), not since the last look; looks once.",
)
@common
def reconcile(common: Common, once: bool, since: datetime | None) -> None:
    """Queue what the rules want of the registry and no event told, and say what the look cost."""
    must_have(SERVICE)
    from mlflow_dbimage.backends.service_worker import look_at_registry
    from mlflow_dbimage.errors import ServiceError

    settings, stop = common.settings(), _stopped_by_signals()
    moment = since.replace(tzinfo=timezone.utc).timestamp() if since is not None else None
    if once or moment is not None or not settings.reconcile_every:
        _show_findings(common, look_at_registry(settings, since=moment))
        return
    while True:
        try:
            _show_findings(common, look_at_registry(settings))
        except ServiceError as error:  # the registry is away, and will be back
            click.echo(f"error: {error.message}", err=True)
        if stop.wait(settings.reconcile_every):
            return


COMMANDS = (webhook, worker, reconcile)


def _show_findings(common: Common, found: Findings) -> None:
    queued = [build.to_dict() for build in found.queued]
    data = {
        "queued": queued,
        "failures": list(found.failures),
        "seen": found.seen,
        "requests": found.requests,
        "seconds": found.seconds,
    }
    lines = [f"build {build.id} is queued: `{build.name}`, {build.cause}" for build in found.queued]
    lines += found.failures
    cost = f"{found.requests} requests, {found.seconds:.1f} s"
    common.show(data, "\n".join([*lines, f"{len(queued)} queued, {found.seen} known to the rules ({cost})"]))


def _stopped_by_signals() -> threading.Event:
    """Return what is set when this process is told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


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
