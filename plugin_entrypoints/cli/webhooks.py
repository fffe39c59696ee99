"""Commands of the group `webhook` about its other end, in MLflow's registry: register, list, test."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from plugin_entrypoints import terminal
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    from mlflow_dbimage.settings import Settings

_DELIVERIES = "/webhooks/mlflow"
# What MLflow calls what rules are about.
_EVENTS = {
    "version-created": "model_version.created",
    "alias-set": "model_version_alias.created",
    "tag-set": "model_version_tag.set",
}


@click.command()
@click.argument("url")
@click.option("--name", default="dbimage", show_default=True, help="Name of the webhook.")
@click.option(
    "--event",
    "events",
    type=click.Choice(tuple(_EVENTS.values())),
    multiple=True,
    help="Event to tell; may be repeated. Default: those that the rules are about.",
)
@click.option(
    "--secret-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the secret; made with a new one where it is missing.",
)
@common
def register(common: Common, url: str, name: str, events: tuple[str, ...], secret_file: Path | None) -> None:
    """Have MLflow's tracking server tell its events to the service at URL; again changes events and secret.

    The secret is the first of `--secret-file`, else the first of `webhook_secrets`, else a new one, told once.
    """
    from dataclasses import asdict

    from mlflow_dbimage.backends.registry_webhooks import RegistryWebhooks
    from mlflow_dbimage.setting_kinds import masked

    settings = common.settings()
    secret, is_shown = _secret(settings, secret_file)
    webhook, new = RegistryWebhooks().register(name, _door_url(url), events or _events(settings), secret)
    data = {**asdict(webhook), "url": masked(webhook.url), "new": new, "secret": secret if is_shown else None}
    facts = [
        ("webhook", webhook.id),
        ("name", webhook.name),
        ("url", masked(webhook.url)),
        ("events", ", ".join(webhook.events)),
        ("secret", data["secret"]),
    ]
    told = "\n\nset DBIMAGE_WEBHOOK_SECRETS to this secret where the service runs; it is not told again"
    wait = "\n\nthe tracking server may take a minute until it tells events"
    common.show(data, terminal.facts(facts) + (told if is_shown else "") + wait)


@click.command("list")
@common
def list_(common: Common) -> None:
    """List the webhooks of MLflow's tracking server."""
    from dataclasses import asdict

    from mlflow_dbimage.backends.registry_webhooks import RegistryWebhooks
    from mlflow_dbimage.setting_kinds import masked

    found = [{**asdict(each), "url": masked(each.url)} for each in RegistryWebhooks().list()]
    rows = [(each["id"], each["name"], each["url"], ", ".join(each["events"]), each["status"]) for each in found]
    table = terminal.table(rows, ("id", "name", "url", "events", "status")) if rows else "there are no webhooks"
    common.show(found, table)


@click.command()
@click.argument("webhook_id")
@click.option("--event", type=click.Choice(tuple(_EVENTS.values())), help="Event to send an example of.")
@common
@click.pass_context
def test(context: click.Context, common: Common, webhook_id: str, event: str | None) -> None:
    """Have the tracking server send an example to a webhook, and say what came back; 5 is a refusal."""
    from dataclasses import asdict

    from mlflow_dbimage.backends.registry_webhooks import RegistryWebhooks
    from mlflow_dbimage.setting_kinds import masked

    trial = RegistryWebhooks().test(webhook_id, event)
    data = {**asdict(trial), "webhook": {**asdict(trial.webhook), "url": masked(trial.webhook.url)}}
    what = f"`{trial.event}` to {masked(trial.webhook.url)}"
    answer = f"{trial.status or 'no answer'} {masked(trial.answer)}".strip()
    common.show(data, f"{'delivered' if trial.delivered else 'NOT delivered'} {what}: {answer}")
    if not trial.delivered:
        context.exit(5)


#: For the group `webhook`.
COMMANDS = (register, list_, test)


def _secret(settings: Settings, file: Path | None) -> tuple[str, bool]:
    """Return the secret, and whether it is new and known to nobody else."""
    if file is not None:
        return _secret_in(file), False
    if settings.webhook_secrets:
        return settings.webhook_secrets[0].text, False
    return secrets.token_urlsafe(32), True


def _secret_in(file: Path) -> str:
    from mlflow_dbimage.errors import InputError, disk_errors

    with disk_errors():
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                secret = secrets.token_urlsafe(32)
                stream.write(f"{secret}\n")
                return secret
        except FileExistsError:
            lines = file.read_text(encoding="utf-8").split()
    if not lines:
        raise InputError("secret-missing", f"the file `{file}` has no secret", hint="delete it, to have one made")
    return lines[0]


def _events(settings: Settings) -> tuple[str, ...]:
    """Return the events that the rules are about; all that rules can be about where there are none."""
    from mlflow_dbimage.service import rules

    wanted = {rule.on for rule in rules.read(settings.rules)}
    return tuple(name for kind, name in _EVENTS.items() if not wanted or kind in wanted)


def _door_url(url: str) -> str:
    """Return where deliveries go: a URL without a path gets ours."""
    return url.rstrip("/") + _DELIVERIES if urlsplit(url).path in ("", "/") else url
