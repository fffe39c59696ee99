"""The door for registries, people and programs that speak HTTP: `create_app(settings)` is an ASGI application.

    desk        what every route works with, and who is let in where
    access      tokens, sessions, a trusted proxy's word, loopback
    guards      a limit for bodies, and headers that bind browsers
    deliveries  POST /webhooks/mlflow, /webhooks/databricks
    api         /api/builds
    pages       /, /builds/N, /login: rendered by `rendering` from `templates/`, in the words of `views`
    health      /healthz, /readyz, /metrics: measured by `meters`
    application all of these joined

`dbimage webhook serve` runs it. So can any ASGI server, as
`uvicorn --factory plugin_entrypoints.webhook:create_app`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mlflow_dbimage.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application; without settings, from those of this process.

    Raises:
        UsageError: `bad-value`, a rule or a URL is wrong.
        ServiceError: `database-failed`, `queue-failed`.
    """
    from mlflow_dbimage.settings_sources import load
    from plugin_entrypoints.webhook.application import application, desk

    return application(desk(settings or load()))
