"""Programs that run too long or say too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_dbimage.backends.limited_program import Finished, run_limited


def _run(script: str, folder: Path, *, seconds: float = 20, most: int = 1000) -> Finished:
    command = ["/bin/sh", "-c", script]
    return run_limited(command, environment={"ONLY": "this"}, folder=folder, seconds=seconds, most=most)


def test_streams_and_exit_code_come_back(tmp_path: Path):
    done = _run("echo out; echo err >&2; exit 3", tmp_path)
    assert done == Finished(exit_code=3, in_time=True, output=b"out\n", messages="err\n")


def test_it_gets_no_variable_but_its_own(tmp_path: Path):
    names = {line.split(b"=")[0] for line in _run("/usr/bin/env", tmp_path).output.splitlines()}
    assert names <= {b"ONLY", b"PWD", b"OLDPWD", b"SHLVL", b"_", b"LC_CTYPE"}


def test_the_beginning_of_the_output_and_the_end_of_messages_are_kept(tmp_path: Path):
    done = _run("i=0; while [ $i -lt 2000 ]; do echo $i; echo $i >&2; i=$((i+1)); done", tmp_path, most=20)
    assert done.output == b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"
    assert done.messages == "1996\n1997\n1998\n1999\n"
    assert done.exit_code == 0


def test_one_that_takes_too_long_is_ended_with_its_children(tmp_path: Path):
    started = time.monotonic()
    done = _run("sleep 987 & echo begun; sleep 986", tmp_path, seconds=0.5)
    assert (done.in_time, done.output) == (False, b"begun\n")
    assert time.monotonic() - started < 10
    assert not _running(987, 986)


def test_what_it_left_behind_does_not_hold_us(tmp_path: Path):
    done = _run("sleep 985 & echo done", tmp_path)
    assert (done.in_time, done.exit_code, done.output) == (True, 0, b"done\n")


LEFT = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        {harm}
        os.execlp("sleep", "sleep", "{seconds}")
    os._exit(0)
os.wait()
print("done", flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("number", "end", "seconds", "in_time"),
    [(974, "", 20, True), (973, "os.execlp('sleep', 'sleep', '972')", 0.5, False)],
    ids=["it ends", "it is ended"],
)
def test_what_left_its_session_ends_with_it(tmp_path: Path, number: int, end: str, seconds: float, in_time: bool):
    (tmp_path / "left.py").write_text(LEFT.format(harm="", seconds=number, end=end))
    started = time.monotonic()
    done = _run(f"exec {sys.executable} left.py", tmp_path, seconds=seconds)
    assert (done.in_time, done.output) == (in_time, b"done\n")
    assert time.monotonic() - started < 10
    assert not _running(number, 972)


def test_one_that_ends_what_runs_it_and_keeps_its_streams_does_not_hold_us(tmp_path: Path):
    harm = f"os.kill(int(open('{tmp_path}/supervisor').read()), 9)"
    wait = "while os.getppid() == int(open('supervisor').read()): pass"
    (tmp_path / "left.py").write_text(LEFT.format(harm=harm, seconds=971, end=wait))
    started = time.monotonic()
    done = _run(f"echo $PPID > supervisor; exec {sys.executable} left.py", tmp_path)
    assert (done.in_time, done.exit_code) == (True, -9)
    assert time.monotonic() - started < 10
    for process in _running(971):
        os.kill(process, signal.SIGKILL)


def test_one_that_is_not_there_is_told_of(tmp_path: Path):
    done = run_limited(["/no/such"], environment={}, folder=tmp_path, seconds=9, most=1000)
    assert done.exit_code == 125
    assert "No such file or directory" in done.messages


def _running(*seconds: int) -> list[int]:
    """Find programs by how long they sleep."""
    listed = subprocess.run(["ps", "axo", "pid,args"], capture_output=True, text=True, check=True).stdout
    wanted = [f"sleep {number}" for number in seconds]
    return [int(line.split()[0]) for line in listed.splitlines() if line.split(None, 1)[1] in wanted]
