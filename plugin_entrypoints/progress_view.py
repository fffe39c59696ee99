"""How progress looks: bars on a terminal, plain lines in a log, or nothing. All of it goes to stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TextIO

from mlflow_dbimage.progress import Progress, SilentProgress, Step

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

# A log names a step only when it turns out to be long, then again so often.
_LONG_STEP = 1.0
_REMINDER = 30.0


def progress_on(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
    """Return the view that suits a stream, stderr by default: bars if it is a terminal, else lines."""
    if quiet:
        return SilentProgress()
    stream = sys.stderr if stream is None else stream
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return BarProgress(stream)
    return LineProgress(stream)


class LineProgress:
    """Plain lines: one at the end of each step, and one while a step goes on for long.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Begin a step."""
        state = _StepState()
        ended = threading.Event()
        reminder = threading.Thread(target=self._remind, args=(text, state, ended), daemon=True)
        reminder.start()
        try:
            yield state
        except BaseException:
            self._end(ended, reminder)
            self._say(f"{text}: stopped after {state.seconds:.1f} s")
            raise
        self._end(ended, reminder)
        note = f": {state.text}" if state.text else ""
        self._say(f"{text}{note} ({state.seconds:.1f} s)")

    def _end(self, ended: threading.Event, reminder: threading.Thread) -> None:
        ended.set()
        reminder.join()

    def _remind(self, text: str, state: _StepState, ended: threading.Event) -> None:
        if ended.wait(_LONG_STEP):
            return
        self._say(f"{text} ...")
        while not ended.wait(_REMINDER):
            self._say(f"{text} ... {state.share or f'{state.seconds:.0f} s'}")

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class _StepState:
    """A step that remembers how far it is."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._total = self._done = 0
        self.text = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def share(self) -> str:
        """How much is done, or nothing where that is not known."""
        return f"{min(100, 100 * self._done // self._total)} %" if self._total else ""

    def total(self, count: int) -> None:
        """Remember how much there is to do."""
        self._total = count

    def advance(self, count: int = 1) -> None:
        """Remember that so much more is done."""
        self._done += count

    def note(self, text: str) -> None:
        """Remember what came of it."""
        self.text = text


class BarProgress:
    """Bars of rich, one for each step under way; a finished step leaves one line.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: Bars | None = None
        self._open = 0
        self._lock = threading.Lock()  # steps of several threads may overlap

    def step(self, text: str) -> AbstractContextManager[Step]:
        """Begin a step."""
        return self._shown(text)

    @contextmanager
    def _shown(self, text: str) -> Iterator[Step]:
        bars = self._begin()
        step = _BarStep(bars, bars.add_task(text, total=None))
        try:
            yield step
            bars.console.print(_finished_line(text, step.text, step.seconds))
        finally:
            bars.remove_task(step.task)
            self._finish(bars)

    def _begin(self) -> Bars:
        with self._lock:
            if self._bars is None:
                self._bars = _new_bars(self._stream)
                self._bars.start()
            self._open += 1
            return self._bars

    def _finish(self, bars: Bars) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0:  # nothing of the display may stay when results or errors are printed
                bars.stop()
                self._bars = None


class _BarStep(_StepState):
    """A step with a bar."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        super().__init__()
        self._bars = bars
        self.task = task

    def total(self, count: int) -> None:
        """Give the bar its length."""
        self._bars.update(self.task, total=count or None)

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        self._bars.advance(self.task, count)


def _new_bars(stream: TextIO) -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(file=stream, highlight=False, soft_wrap=True),
        transient=True,
    )


def _finished_line(text: str, note: str, seconds: float) -> object:
    from rich.text import Text

    line = Text("✓ ", style="green")
    line.append(text, style="default")
    if note:
        line.append(f"  {note}", style="dim")
    return line.append(f"  {seconds:.1f} s", style="dim")
