"""A worker of the service as a whole: its builds, and beside them the answers to and looks at the registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mlflow_dbimage.backends.build_process import ChildStarter
from mlflow_dbimage.backends.mlflow_registry import MlflowRegistry
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.service.intake import RECONCILED, Service, open_service
from mlflow_dbimage.service.reconcile import Findings, reconcile
from mlflow_dbimage.service.registry_tags import Teller
from mlflow_dbimage.service.retention import prune
from mlflow_dbimage.service.running_build import Limits
from mlflow_dbimage.service.worker import Worker
from mlflow_dbimage.settings import Settings

_ROUND = 2.0
_LAST_WORDS = 15.0
_AFTER_FAILURE = 60.0
_PRUNE_EVERY = 3600.0
_PRUNED = "pruned"


def run_worker(settings: Settings, say: Callable[[str], None], stop: threading.Event) -> None:
    """Run a worker until told to stop, and then to the end of its grace.

    Args:
        settings: Of the service.
        say: Tells the operator a line.
        stop: Set when the worker is to stop.

    Raises:
        UsageError: `bad-value`, a rule or a URL is wrong.
        ServiceError: `database-failed`, `queue-failed`, when it starts; later it waits.
    """
    service = open_service(settings)
    worker = Worker(service, ChildStarter(), Limits.of(settings), say)
    ended = threading.Event()
    # MLflow may be slow, or away for minutes: no lease may be lost to that.
    beside = threading.Thread(target=_speak_with_registry, args=(settings, service, say, ended), daemon=True)
    beside.start()
    say(f"worker {worker.name} waits for builds")
    try:
        worker.run(stop)
    finally:
        ended.set()
        beside.join(_LAST_WORDS)


def look_at_registry(settings: Settings, *, since: float | None = None) -> Findings:
    """Compare the registry with the table once.

    Raises:
        UsageError: `bad-value`, a rule or a URL is wrong.
        ServiceError: `store-failed`, `database-failed`, `queue-failed`.
    """
    service = open_service(settings)
    return reconcile(service, MlflowRegistry().look(settings.reconcile_models), since=since)


def _speak_with_registry(
    settings: Settings, service: Service, say: Callable[[str], None], ended: threading.Event
) -> None:
    """Tell the registry what is new, and look at it when it is time; when the worker has ended, tell once more."""
    registry = MlflowRegistry()
    teller = Teller(service, registry)
    not_before = 0.0
    while True:
        is_last = ended.wait(_ROUND)
        try:
            teller.tell()
            _prune(settings, service, say)
            if not is_last and time.monotonic() >= not_before and _is_time(settings, service):
                _look(settings, service, registry, say)
        except DbimageError as error:
            not_before = time.monotonic() + _AFTER_FAILURE
            say(f"the registry could not be compared: {error.message}")
        if is_last:
            return


def _is_time(settings: Settings, service: Service) -> bool:
    """Whether no process of the service has looked for as long as the settings say."""
    last = service.database.moment(RECONCILED) or 0.0
    return bool(service.rules) and 0 < settings.reconcile_every <= time.time() - last


def _prune(settings: Settings, service: Service, say: Callable[[str], None]) -> None:
    """Let go of what is old, if no process of the service has for an hour."""
    now, last = time.time(), service.database.moment(_PRUNED)
    if not settings.build_keep or now - (last or 0.0) < _PRUNE_EVERY:
        return
    if service.database.keep_moment(_PRUNED, now, instead_of=last):
        count = prune(service.database, settings.build_keep, now)
        if count:
            say(f"{count} builds ended more than {settings.build_keep} days ago: their logs are gone")


def _look(settings: Settings, service: Service, registry: MlflowRegistry, say: Callable[[str], None]) -> None:
    found = reconcile(service, registry.look(settings.reconcile_models))
    for build in found.queued:
        say(f"build {build.id} is queued, which no event told: `{build.name}`, {build.cause}")
