"""What a worker and the process of a build say to each other.

A build runs in a process of its own, so that one that dies takes nothing along. The process knows nothing of the
service's database: it gets what is to be built, and says how far it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow_dbimage.service.build import Build


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What it is at."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Whole lines for the build's log, without secrets."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """The image is made, and may be named as soon as its worker allows it: a build that was lost must not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The image is made and named."""

    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The alias for which the image was wanted is not on that version any more."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """There is no image."""

    code: str
    """Of `errors.CODES`, or `bug`."""
    text: str
    may_pass: bool
    """Whether another try may go well."""


Message = Stage | Lines | Naming | Done | Moved | Failed


class BuildProcess(Protocol):
    """The process of one build."""

    def heard(self) -> tuple[Message, ...]:
        """Return what it has said since last time; does not wait."""

    def has_ended(self) -> bool:
        """Whether it has ended, and all that it said was heard."""

    def allow(self) -> None:
        """Let it name its image, for which it waits since it said `Naming`."""

    def stop(self) -> None:
        """Have it end soon, with all that it started; does not wait."""

    def close(self) -> None:
        """Let go of it, after its end."""


class Starter(Protocol):
    """Starts processes of builds."""

    def start(self, build: Build) -> BuildProcess:
        """Start a build.

        Raises:
            ServiceError: `program-failed`.
        """
