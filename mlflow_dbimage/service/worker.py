"""Takes builds from the queue and has each made in a process of its own.

One thread does it all: it looks after the processes, holds their leases, begins what is next, and sweeps. Any
number of workers may share a table. A worker that is told to stop gives its builds some time, and hands back
what is left; one that is killed is found by its leases.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

from mlflow_dbimage.errors import DbimageError, ServiceError
from mlflow_dbimage.service.build_process import Starter
from mlflow_dbimage.service.intake import Service, announce
from mlflow_dbimage.service.outage_notes import OutageNotes
from mlflow_dbimage.service.running_build import Limits, RunningBuild

_TURN = 0.2
_SWEEP = 5.0
_AFTER_FAILURE = 3.0


class Worker:
    """One worker.

    Args:
        service: Table, logs and queue.
        starter: Starts the processes of builds.
        limits: What it may do.
        say: Tells the operator a line.
        clock: Seconds that only go forward.

    Attributes:
        outages: Of what it needs, for who works beside it.
    """

    def __init__(
        self,
        service: Service,
        starter: Starter,
        limits: Limits,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._service = service
        self._starter = starter
        self._limits = limits
        self.outages = OutageNotes(say, clock)
        self._say = say
        self._clock = clock
        self._running: list[RunningBuild] = []
        self._sweep_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; then wait for the builds under way, and hand back what takes too long."""
        while not stop.is_set():
            stop.wait(_TURN if self._try(self.turn) else _AFTER_FAILURE)
        end = self._clock() + self._limits.grace
        while self._running and self._clock() < end:
            time.sleep(_TURN)
            self._try(self._look_after)
        self._hand_back()

    def turn(self) -> None:
        """Look after what runs, sweep if it is time, and begin what is next.

        Raises:
            ServiceError: `database-failed`.
        """
        self._look_after()
        if self._clock() >= self._sweep_at:
            self._sweep()
        for build_id in self._next():
            self._begin(build_id)

    def _look_after(self) -> None:
        still = []
        for running in self._running:
            if running.turn(self._clock()):
                ended = self._service.builds.get(running.build.id)
                self._say(f"build {ended.id} {ended.status}: {ended.image or ended.error_text or ''}".rstrip(": "))
                self._sweep_at = 0.0  # what waited for its slot may begin
            else:
                still.append(running)
        self._running = still

    def _sweep(self) -> None:
        """Take leases from the dead, and where there are fewer messages than builds to begin, send them all."""
        for build in self._service.builds.release_lost(self._limits.attempts):
            self._say(f"build {build.id} was lost by its worker, and is {build.status}")
        self._sweep_at = self._clock() + min(_SWEEP, self._limits.lease / 2)
        due = self._service.builds.due()
        try:
            is_complete = self._service.queue.size() >= len(due)
        except ServiceError as error:
            self.outages.met(error)
            return
        self.outages.over("queue-failed")
        for build in () if is_complete else due:
            announce(build, self._service.queue)

    def _next(self) -> Iterator[int]:
        """Give ids from the queue, or straight from the table where the queue is away, while there is room."""
        while len(self._running) < self._limits.builds:
            try:
                build_id = self._service.queue.receive()
            except ServiceError:
                yield from (each.id for each in self._service.builds.due(self._limits.builds - len(self._running)))
                return
            if build_id is None:
                return
            yield build_id

    def _begin(self, build_id: int) -> None:
        build = self._service.builds.take(build_id, self.name, self._limits.lease)
        if build is None:
            return  # another worker has it, its slot is busy, or it is wanted no more
        self._say(f"build {build.id} begins, attempt {build.attempts}: `{build.name}`, {build.cause}")
        self._service.logs.append(build.id, f"attempt {build.attempts} by worker {self.name}\n")
        try:
            process = self._starter.start(build)
        except ServiceError as error:
            self._service.builds.fail(build.id, self.name, error.code, error.message)
            return
        self._running.append(RunningBuild(build, process, self._service, self._limits, self._clock()))

    def _hand_back(self) -> None:
        for running in self._running:
            running.stop()
        end = self._clock() + 10
        while self._clock() < end and not all(running.is_over() for running in self._running):
            time.sleep(_TURN)
        for running in self._running:
            if self._try(running.hand_back):
                self._say(f"build {running.build.id} is handed back")
                announce(self._service.builds.get(running.build.id), self._service.queue)
        self._running = []

    def _try(self, work: Callable[[], None]) -> bool:
        """Do something that may fail for a while: the builds go on, and it is tried again."""
        try:
            work()
        except DbimageError as error:
            self.outages.met(error)
            return False
        self.outages.over("database-failed")  # nothing is done without it
        return True
