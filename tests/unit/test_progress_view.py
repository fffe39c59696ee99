"""Progress: lines in a log, bars on a terminal, nothing when quiet."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import threading

import pytest

from mlflow_dbimage.progress import SilentProgress
from plugin_entrypoints import progress_view
from plugin_entrypoints.progress_view import BarProgress, LineProgress, progress_on


def test_a_short_step_is_one_line():
    out = io.StringIO()
    with LineProgress(out).step("solving") as step:
        step.total(3)
        step.advance()
        step.note("3 packages")
    assert re.fullmatch(r"solving: 3 packages \(\d+\.\d s\)\n", out.getvalue())


def test_a_long_step_is_named_when_it_gets_long_and_again_with_its_share(monkeypatch):
    monkeypatch.setattr(progress_view, "_LONG_STEP", 0.01)
    monkeypatch.setattr(progress_view, "_REMINDER", 0.01)
    reminded = threading.Event()

    class Out(io.StringIO):
        def write(self, text):
            if "50 %" in text:
                reminded.set()
            return super().write(text)

    out = Out()
    with LineProgress(out).step("pushing") as step:
        step.total(200)
        step.advance(100)
        assert reminded.wait(30)
    lines = out.getvalue().splitlines()
    assert lines[0] == "pushing ..."
    assert "pushing ... 50 %" in lines
    assert re.fullmatch(r"pushing \(\d+\.\d s\)", lines[-1])


def test_a_step_that_fails_says_that_it_stopped():
    out = io.StringIO()
    with pytest.raises(KeyError), LineProgress(out).step("pushing"):
        raise KeyError
    assert out.getvalue().startswith("pushing: stopped after ")


def test_steps_leave_no_thread_behind():
    before = threading.active_count()
    with LineProgress(io.StringIO()).step("solving"):
        pass
    assert threading.active_count() == before


@pytest.fixture
def terminal():
    """A terminal to write to, and a function that closes it and gives all that was written."""
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    chunks: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            while chunk := os.read(master, 1 << 16):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()

    def written() -> str:
        stream.close()
        reader.join()
        return b"".join(chunks).decode()

    yield stream, written
    written()
    os.close(master)


def test_a_terminal_gets_bars_and_keeps_one_line_a_step(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream, written = terminal
    progress = progress_on(stream)
    assert isinstance(progress, BarProgress)
    with progress.step("solving [conda]") as outer:
        outer.total(10)
        outer.advance(10)
        with progress.step("inner"):
            pass
        outer.note("3 packages")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written())
    assert "✓ inner" in text
    assert re.search(r"✓ solving \[conda\]  3 packages  \d+\.\d s", text)


def test_a_failed_step_gets_no_tick_and_the_terminal_is_left_in_order(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream, written = terminal
    with pytest.raises(KeyError), progress_on(stream).step("pushing"):
        raise KeyError
    text = written()
    assert "✓" not in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is shown again


def test_a_log_gets_lines(monkeypatch):
    assert isinstance(progress_on(io.StringIO()), LineProgress)


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_on(terminal[0]), LineProgress)


def test_quiet_shows_nothing():
    assert isinstance(progress_on(io.StringIO(), quiet=True), SilentProgress)
