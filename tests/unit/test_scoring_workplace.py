"""Streams, signals and folders around a job."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mlflow_dbimage.scoring.failures import Stopped
from mlflow_dbimage.scoring.workplace import garbage_left_alone, stopped_by_signals, writable_folders

CLONE = Path(__file__).resolve().parents[2]

PRINTING = """
import os, subprocess
from mlflow_dbimage.scoring.workplace import output_kept_apart
with output_kept_apart() as stdout:
    print("from Python")
    os.write(1, b"from C\\n")
    subprocess.run(["sh", "-c", "echo from a child"], check=True)
    stdout.write(b"output\\n")
print("after")
"""


def test_what_is_printed_does_not_mix_with_the_output():
    ended = subprocess.run([sys.executable, "-c", PRINTING], cwd=CLONE, capture_output=True, text=True, check=True)
    assert ended.stdout == "output\nafter\n"
    assert sorted(ended.stderr.splitlines()) == ["from C", "from Python", "from a child"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_and_are_given_back(number: int):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, stopped_by_signals():
        os.kill(os.getpid(), number)
        signal.pause()
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_home_that_cannot_be_written_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent/.cache")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = dict(os.environ)
    with writable_folders():
        home = Path(os.environ["HOME"])
        assert home.parent == tmp_path
        (home / "file").write_text("x")
        assert "XDG_CACHE_HOME" not in os.environ
        assert os.environ["MLFLOW_TRACKING_URI"].startswith(f"file://{home}")
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert dict(os.environ) == before
    assert os.listdir(tmp_path) == []


def test_what_is_set_and_writable_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wishes = {
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "MLFLOW_TRACKING_URI": "databricks",
        "DO_NOT_TRACK": "0",
    }
    for name, value in wishes.items():
        monkeypatch.setenv(name, value)
    with writable_folders():
        assert {name: os.environ[name] for name in wishes} == wishes


def test_a_temporary_folder_that_is_not_there_is_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.setattr(tempfile, "tempdir", None)
    with writable_folders():
        assert os.access(os.environ["TMPDIR"], os.W_OK)
        assert tempfile.gettempdir() == os.environ["TMPDIR"]


def test_the_collector_is_as_it_was_once_a_model_is_loaded() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError), garbage_left_alone():
        assert gc.get_threshold() > before
        assert gc.isenabled()
        raise ValueError
    assert gc.get_threshold() == before
