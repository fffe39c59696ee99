"""A worker of the service as a whole: its builds, and beside them the answers to and looks at the registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

from mlflow_dbimage.backends.build_process import ChildStarter
from mlflow_dbimage.backends.mlflow_registry import MlflowRegistry
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.service.intake import RECONCILED, Service, open_service
from mlflow_dbimage.service.outage_notes import OutageNotes
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
    with closing(open_service(settings)) as service:
        worker = Worker(service, ChildStarter(), Limits.of(settings), say)
        ended = threading.Event()
        speaker = _Speaker(settings, service, say, worker.outages)
        # MLflow may be slow, or away for minutes: no lease may be lost to that.
        beside = threading.Thread(target=speaker.run, args=(ended,), daemon=True)
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
    with closing(open_service(settings)) as service:
        return reconcile(service, MlflowRegistry().look(settings.reconcile_models), since=since)


class _Speaker:
    """Tells the registry what is new, looks at it when it is time, and lets go of what is old.

    Args:
        settings: Of the service.
        service: With the table.
        say: Tells the operator a line.
        outages: Of what the worker needs.
    """

    def __init__(
        self, settings: Settings, service: Service, say: Callable[[str], None], outages: OutageNotes
    ) -> None:
        self._settings = settings
        self._service = service
        self._say = say
        self._outages = outages
        self._registry = MlflowRegistry()
        self._teller = Teller(service, self._registry)
        self._look_at = 0.0

    def run(self, ended: threading.Event) -> None:
        """Go on until the worker has ended, and then tell once more."""
        while not ended.wait(_ROUND):
            self._try(self._tell)
            if time.monotonic() >= self._look_at and not self._try(self._look):
                self._look_at = time.monotonic() + _AFTER_FAILURE
        self._try(self._tell)

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except DbimageError as error:
            self._outages.met(error)
            return False
        return True

    def _tell(self) -> None:
        self._teller.tell()
        self._prune()

    def _look(self) -> None:
        """Compare the registry with the table, if no process of the service has for as long as settings say."""
        last = self._service.database.moment(RECONCILED) or 0.0
        if not self._service.rules or not 0 < self._settings.reconcile_every <= time.time() - last:
            return
        found = reconcile(self._service, self._registry.look(self._settings.reconcile_models))
        self._outages.over("store-failed")
        for build in found.queued:
            self._say(f"build {build.id} is queued, which no event told: `{build.name}`, {build.cause}")
        for failure in found.failures:
            self._say(failure)

    def _prune(self) -> None:
        """Let go of what is old, if no process of the service has for an hour."""
        days, now, last = self._settings.build_keep, time.time(), self._service.database.moment(_PRUNED)
        if not days or now - (last or 0.0) < _PRUNE_EVERY:
            return
        if self._service.database.keep_moment(_PRUNED, now, instead_of=last):
            count = prune(self._service.database, days, now)
            if count:
                self._say(f"{count} builds ended more than {days} days ago: their logs are gone")
