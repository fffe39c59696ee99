"""The process of a build: what it says, what the log may not have, and that it ends with its worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_dbimage.backends.build_process import ChildProcess, ChildStarter
from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_process import Done, Failed, Lines, Message, Moved, Stage
from plain_model import write_model

SECRET = "hunter22-of-nobody"
CLONE = Path(__file__).resolve().parents[2]


def process_of(script: str, surroundings: dict[str, str] | None = None) -> ChildProcess:
    """Start a script in the place of a build."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return ChildProcess(process, {"name": "m"}, surroundings or {})


def all_of(process: ChildProcess, seconds: float = 60) -> list[Message]:
    """Hear a process to its end."""
    heard: list[Message] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        heard += process.heard()
        if process.has_ended():
            process.close()
            return heard
        time.sleep(0.02)
    process.stop()
    raise AssertionError(f"it did not end; it said {heard}")


def log_of(messages: list[Message]) -> str:
    return "".join(each.text for each in messages if isinstance(each, Lines))


def test_reports_of_every_kind_are_heard_in_their_order():
    reports = [
        {"kind": "stage", "data": "packing"},
        {"kind": "line", "data": "packed"},
        {"kind": "moved", "data": "elsewhere"},
        {"kind": "failed", "data": {"code": "unsolvable", "text": "no", "may_pass": False}},
        {"kind": "done", "data": {"digest": "sha256:1"}},
    ]
    heard = all_of(process_of(f"import json\nfor each in {reports!r}: print(json.dumps(each), flush=True)"))
    assert heard == [
        Stage(text="packing"),
        Lines(text="packed\n"),
        Moved(text="elsewhere"),
        Failed(code="unsolvable", text="no", may_pass=False),
        Done(receipt={"digest": "sha256:1"}),
    ]


def test_whatever_is_no_report_is_for_the_log():
    script = """
import sys
print("plain words", flush=True)
print('{"kind": "failed", "data": 5}', flush=True)
print("[1]", flush=True)
sys.stderr.buffer.write(b"bytes \\xff and \\x1b[31mcolour\\x1b[0m\\r\\nunfinished")
"""
    log = log_of(all_of(process_of(script)))
    for expected in (
        "plain words\n",
        '"data": 5}\n',
        "[1]\n",
        "bytes \ufffd and ?[31mcolour?[0m\n",
        "unfinished\n",
    ):
        assert expected in log


def test_no_secret_reaches_the_log():
    surroundings = {
        "MLFLOW_TRACKING_PASSWORD": SECRET,
        "DBIMAGE_INDEX_URL": "https://reader:quiet-word@index.example/simple",
        "SHORT_TOKEN": "yes",
        "KEY_FILE_KEY": "/etc/key",
    }
    script = f"""
import json, sys
print(json.dumps({{"kind": "line", "data": "yes /etc/key {SECRET}"}}), flush=True)
print("https://u:p@host/x and quiet-word", file=sys.stderr)
print(json.dumps({{"kind": "failed", "data": {{"code": "bug", "text": "{SECRET}", "may_pass": False}}}}))
"""
    heard = all_of(process_of(script, surroundings))
    assert "yes /etc/key ***\n" in log_of(heard)
    assert "https://host/x and ***\n" in log_of(heard)
    assert Failed(code="bug", text="***", may_pass=False) in heard


def test_no_half_of_a_secret_is_left_where_a_line_is_cut():
    script = f"print('x' * 3990 + '{SECRET}' + 'y' * 100)"
    log = log_of(all_of(process_of(script, {"A_PASSWORD": SECRET})))
    assert len(log) == 4001
    assert log.endswith("x***yyyyyyy\n")


def test_what_it_started_does_not_outlive_it():
    script = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
"""
    log = log_of(all_of(process_of(script)))
    assert is_gone(int(log))


def test_one_that_will_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr("mlflow_dbimage.backends.build_process._PATIENCE", 0.3)
    script = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
    process = process_of(script)
    while "ready" not in log_of(list(process.heard())):
        time.sleep(0.02)
    process.stop()
    assert all_of(process, 20) == []


def build(model_uri: str, alias: str | None = None, **config: object) -> Build:
    empty = dict.fromkeys(Build.__dataclass_fields__)
    request = {"model_uri": model_uri, "target": None, "config": config}
    return Build(**{**empty, "id": 1, "name": "m", "alias": alias, "request": request})


@pytest.fixture
def settings_of_nobody(tmp_path, monkeypatch) -> Iterator[None]:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "DBIMAGE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(CLONE))
    monkeypatch.setenv("DBIMAGE_SERVICE_DATABASE", f"postgresql://u:{SECRET}@host/db")
    yield


@pytest.mark.usefixtures("settings_of_nobody")
def test_an_error_of_the_pipeline_is_reported_with_its_code(tmp_path):
    heard = all_of(ChildStarter().start(build(str(tmp_path / "nowhere"))))
    (failed,) = [each for each in heard if isinstance(each, Failed)]
    assert (failed.code, failed.may_pass) == ("model-not-found", False)
    assert "does not exist\n\nhint: " in failed.text


@pytest.mark.usefixtures("settings_of_nobody")
def test_an_error_of_a_service_may_pass(tmp_path):
    model = write_model(tmp_path / "model")
    base = f"//127.0.0.1:1/base:{os.getpid()}"
    heard = all_of(ChildStarter().start(build(str(model), base_image=base)))
    (failed,) = [each for each in heard if isinstance(each, Failed)]
    assert (failed.code, failed.may_pass) == ("registry-unreachable", True)


@pytest.mark.usefixtures("settings_of_nobody")
def test_a_build_ends_with_its_worker(tmp_path):
    """Kill what holds the other end of the standard input, as the kernel does with a worker's."""
    model = write_model(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a registry that keeps whoever asks it waiting
        base = f"//127.0.0.1:{silent.getsockname()[1]}/base:1"
        script = f"""
import sys, time
sys.path[:0] = {[str(CLONE), str(CLONE / "tests"), str(CLONE / "tests" / "unit")]!r}
from mlflow_dbimage.backends.build_process import ChildStarter
from test_backends_build_process import build
process = ChildStarter().start(build({str(model)!r}, base_image={base!r}))
print(process.pid, flush=True)
time.sleep(600)
"""
        worker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        child = int(worker.stdout.readline())
        connection, _ = silent.accept()
        surroundings = Path(f"/proc/{child}/environ").read_text()
        assert SECRET not in surroundings and SECRET not in Path(f"/proc/{child}/cmdline").read_text()
        assert os.getpriority(os.PRIO_PROCESS, child) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        assert is_gone(child, 10)
        connection.close()


def is_gone(pid: int, seconds: float = 20) -> bool:
    """Whether a process has ended, or ends within some seconds; a zombie has."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False
