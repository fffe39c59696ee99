"""Webhooks of MLflow's own tracking server: made, listed and tried through its client.

The client has them from MLflow 3.3 on. The server must keep its registry in a database and be told which URLs
it may call; what it says where it is not is turned into words of what to set there.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.backends.mlflow_errors import store_errors, without_secrets
from mlflow_dbimage.backends.mlflow_store import open_client
from mlflow_dbimage.errors import InputError, ServiceError, UsageError

_URL_HINT = (
    "set MLFLOW_WEBHOOK_ALLOWED_SCHEMES=https,http for plain http and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true for a"
    " private address where the tracking server runs; or let `dbimage reconcile` find the changes"
)
_NO_WEBHOOKS_HINT = (
    "it takes MLflow 3.3 or newer, and a database for the server; `dbimage reconcile` needs neither"
)
_KEY_HINT = "set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY where the tracking server runs, then register anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryWebhook:
    """A webhook as the server tells it; its secret is never told."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    """As `model_version.created`."""
    status: str
    """`ACTIVE` or `DISABLED`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTrial:
    """What came of a test delivery."""

    webhook: RegistryWebhook
    event: str
    delivered: bool
    status: int | None
    """HTTP status of the answer."""
    answer: str
    """Its beginning, or why there is none."""


class RegistryWebhooks:
    """The webhooks of the server that MLflow is set to."""

    def list(self) -> tuple[RegistryWebhook, ...]:
        """Return all webhooks.

        Raises:
            UsageError: `not-supported`.
            ServiceError: `store-failed`.
        """
        with _webhook_errors("the webhooks"):
            return tuple(_webhook(each) for each in _pages(_client()))

    def register(self, name: str, url: str, events: Sequence[str], secret: str) -> tuple[RegistryWebhook, bool]:
        """Make the webhook of a URL, or give the one that is there these events and this secret.

        Returns:
            The webhook, and whether it is new.

        Raises:
            UsageError: `not-supported`, or `bad-value` for a URL that the server may not call.
            ServiceError: `store-failed`.
        """
        with _webhook_errors(f"the webhook of {without_secrets(url)}"):
            client = _client()
            wanted = {"name": name, "events": [*events], "secret": secret, "status": "ACTIVE"}
            there = next((each for each in _pages(client) if each.url == url), None)
            if there is None:
                return _webhook(client.create_webhook(url=url, **wanted)), True
            return _webhook(client.update_webhook(there.webhook_id, **wanted)), False

    def test(self, webhook_id: str, event: str | None = None) -> DeliveryTrial:
        """Have the server send an example, signed as any other delivery.

        Raises:
            InputError: `webhook-not-found`.
            UsageError: `not-supported`.
            ServiceError: `store-failed`.
        """
        with _webhook_errors(f"the webhook {webhook_id}"):
            client = _client()
            webhook = _webhook(client.get_webhook(webhook_id))
            result = client.test_webhook(webhook_id, event=event)
            return DeliveryTrial(
                webhook=webhook,
                event=event or webhook.events[0],
                delivered=bool(result.success),
                status=result.response_status,
                answer=(result.response_body or result.error_message or "").strip()[:500],
            )


def _pages(client: Any) -> Iterator[Any]:
    token = None
    while True:
        page = client.list_webhooks(max_results=100, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _webhook(found: Any) -> RegistryWebhook:
    return RegistryWebhook(
        id=str(found.webhook_id),
        name=str(found.name),
        url=str(found.url),
        events=tuple(str(event) for event in found.events),
        status=str(found.status),
    )


def _client() -> Any:
    client = open_client()
    if not hasattr(client, "create_webhook"):
        raise UsageError("not-supported", "this MLflow has no webhooks", hint=_NO_WEBHOOKS_HINT)
    return client


@contextmanager
def _webhook_errors(thing: str) -> Iterator[None]:
    with store_errors(thing):
        exceptions = importlib.import_module("mlflow.exceptions")
        try:
            yield
        except NotImplementedError as error:
            raise UsageError(
                "not-supported", "the registry that MLflow is set to has no webhooks", hint=_NO_WEBHOOKS_HINT
            ) from error
        except exceptions.MlflowException as error:
            ours = _in_our_words(error, thing)
            if ours is None:
                raise
            raise ours from None  # the original may show the URL's password


def _in_our_words(error: Any, thing: str) -> InputError | UsageError | ServiceError | None:
    text = without_secrets(str(error))
    if error.error_code == "INVALID_PARAMETER_VALUE" and "URL" in text:
        return UsageError("bad-value", f"the tracking server may not call {thing}: {text}", hint=_URL_HINT)
    if error.error_code in ("NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND"):
        return UsageError("not-supported", f"the tracking server has no webhooks: {text}", hint=_NO_WEBHOOKS_HINT)
    if error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return InputError(
            "webhook-not-found",
            f"MLflow does not find {thing}",
            hint="list the webhooks that there are",
        )
    if "InvalidToken" in text:
        return ServiceError("store-failed", f"the tracking server cannot read {thing}: {text}", hint=_KEY_HINT)
    return None
