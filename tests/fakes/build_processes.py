"""Processes of builds that tests speak for (`service.build_process`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_process import Message


@dataclass
class FakeProcess:
    """Says what it is told to; ends when told, or when it is stopped."""

    build: Build
    ended: bool = False
    stopped: bool = False
    allowed: bool = False
    unheard: list[Message] = field(default_factory=list)

    def say(self, *messages: Message, end: bool = False) -> None:
        self.unheard += messages
        self.ended = self.ended or end

    def heard(self) -> tuple[Message, ...]:
        said, self.unheard = tuple(self.unheard), []
        return said

    def has_ended(self) -> bool:
        return self.ended and not self.unheard

    def allow(self) -> None:
        self.allowed = True

    def stop(self) -> None:
        self.stopped = self.ended = True

    def close(self) -> None:
        self.ended = True


@dataclass
class FakeStarter:
    """Starts processes that tests speak for."""

    started: list[FakeProcess] = field(default_factory=list)
    error: ServiceError | None = None

    def start(self, build: Build) -> FakeProcess:
        if self.error is not None:
            raise self.error
        self.started.append(FakeProcess(build))
        return self.started[-1]
