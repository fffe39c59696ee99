"""One check of an image by itself: where it runs, within which limits, and what came of it.

The image's own program makes the check (`score --check`, see `docs/scoring.md`); a checker starts it: in a
container of a Docker engine, in the image's own root under the kernel's namespaces, or from the image's own layers
on this machine's system, in the sandbox. What the report means is judged elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.image import Image

#: In a container; in the image's root as a namespace of this machine; in its unpacked layers alone.
How = Literal["engine", "namespace", "packed"]

#: How much of an image is proven: all that this machine can, what an engine shows, its files alone, nothing.
Mode = Literal["auto", "engine", "static", "none"]

#: Who runs the check in the image: nobody that an image knows, so that its files must be open to all.
CHECK_USER = 65532

#: Largest report that is read; a thousand rows of predictions have less.
MOST_REPORT = 64 << 20

#: How many of the lines that the program writes to standard error are kept.
KEPT_LINES = 200

_REPORT_VERSION = 1
_SHARE_OF_MEMORY = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """What a check may take."""

    seconds: float
    memory: int
    """In bytes."""
    processes: int
    """Threads count as processes."""

    @classmethod
    def of_machine(cls) -> CheckLimits:
        """Return limits under which any model that this machine can serve passes, and the machine survives."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(seconds=900.0, memory=int(memory * _SHARE_OF_MEMORY), processes=4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """What came of a check."""

    how: How
    report: Mapping[str, Any] | None
    """What the program reported; None if it ended without a report."""
    exit_code: int
    messages: str
    """The last of what the program and the model wrote to standard error."""
    stopped_by: Literal["time", "memory"] | None = None
    """The limit at which the check was ended."""


class Checker(Protocol):
    """Makes checks in one way."""

    @property
    def how(self) -> How:
        """The way."""

    def obstacle(self, image: Image) -> str | None:
        """Say why an image cannot be checked in this way here; None where it can."""

    def check(self, image: Image, limits: CheckLimits) -> CheckRun:
        """Run the image's own check to its end, without network, on a root that cannot be written to.

        Raises:
            ServiceError: What runs images failed.
            VerificationError: `digest-mismatch` or `image-invalid`, a layer is not what it should be.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How an image is checked, and why not in a better way."""

    checker: Checker | None
    """None where none can check it."""
    obstacles: tuple[str, ...]
    """Of the better ways, as `obstacle` says them."""


def choose(image: Image, checkers: Sequence[Checker]) -> Choice:
    """Choose the first of some checkers, best first, that can check an image."""
    obstacles: list[str] = []
    for checker in checkers:
        obstacle = checker.obstacle(image)
        if obstacle is None:
            return Choice(checker=checker, obstacles=tuple(obstacles))
        obstacles.append(obstacle)
    return Choice(checker=None, obstacles=tuple(obstacles))


def must_be_checked(choice: Choice) -> None:
    """Refuse that an image stays unchecked.

    Raises:
        ServiceError: `engine-failed`.
    """
    if choice.checker is None:
        raise ServiceError(
            "engine-failed",
            f"the image cannot be checked in a Docker engine: {'; '.join(choice.obstacles) or 'none answers'}",
            hint="start an engine, or let the check run without one",
        )


def read_report(output: bytes) -> Mapping[str, Any] | None:
    """Read what the image's program wrote to standard output; None if that is no report that we know.

    The image is not trusted: whatever it writes is data.
    """
    try:
        report = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict) or report.get("version") != _REPORT_VERSION:
        return None
    return report


def tail(text: str) -> str:
    """Keep the last lines of what a program wrote."""
    return "\n".join(text.splitlines()[-KEPT_LINES:])
