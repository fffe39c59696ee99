"""The sandbox that the settings ask for."""

from __future__ import annotations

from mlflow_dbimage.backends.sandbox import Limits, Sandbox
from mlflow_dbimage.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """Return what code of models may use."""
    memory = settings.model_memory
    return Limits(
        seconds=settings.model_seconds,
        memory=None if memory is None else memory * 10**6,
        disk=settings.model_disk * 10**6,
    )


def sandbox_of(settings: Settings) -> Sandbox:
    """Find where code of models runs.

    Raises:
        ServiceError: `no-sandbox`, one is required and there is none.
    """
    return Sandbox.find(limits_of(settings), required=settings.sandbox == "required")
