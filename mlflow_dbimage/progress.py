"""What long work tells of itself: steps that begin, advance and end.

The core reports to a `Progress` that it is given; doors choose how it looks (a bar on a terminal, plain lines
in a log). Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One step under way."""

    def total(self, count: int) -> None:
        """Say how much there is to do: bytes, files or packages."""

    def advance(self, count: int = 1) -> None:
        """Say that so much more is done."""

    def note(self, text: str) -> None:
        """Say what came of it, in a few words; shown when the step ends."""


class Progress(Protocol):
    """Where steps are reported."""

    def step(self, text: str) -> AbstractContextManager[Step]:
        """Begin a step; it ends with the context."""


class _SilentStep:
    def total(self, count: int) -> None:
        """Ignore it."""

    def advance(self, count: int = 1) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


class SilentProgress:
    """Reports nothing."""

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Begin a step that nobody sees."""
        yield _SilentStep()
