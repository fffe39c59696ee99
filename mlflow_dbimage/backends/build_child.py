"""The process of one build of the service: `python -m mlflow_dbimage.backends.build_child`.

`build_process` starts it. It reads what is to be built from its standard input, runs the same pipeline as the
command, and reports on its standard output. When its standard input ends, its worker is gone, and so is it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Any, NoReturn

from mlflow_dbimage import model_reference, pipeline
from mlflow_dbimage.backends import default_tools
from mlflow_dbimage.backends.allowed_naming import AllowedNaming
from mlflow_dbimage.build_request import BuildRequest
from mlflow_dbimage.errors import DbimageError, InputError, ServiceError
from mlflow_dbimage.model_reference import ModelStore
from mlflow_dbimage.progress import Step
from mlflow_dbimage.short_process import short_process

_NICENESS = 10
_PATIENCE = 5.0
_SHARE_SECONDS = 2.0
# Of the errors of services, those that another try will meet again.
_LASTING = frozenset({"offline"})


def main() -> None:
    """Build what the standard input says, and report how it went."""
    os.nice(_NICENESS)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reporter = Reporter(_own_output())
    request = json.loads(sys.stdin.buffer.readline() or b"null")
    allowed = threading.Event()
    threading.Thread(target=_watch_worker, args=(allowed,), daemon=True).start()
    try:
        if request is not None:
            _build(request, reporter, allowed)
    except DbimageError as error:
        lasts = not isinstance(error, ServiceError) or error.code in _LASTING
        reporter.report("failed", {"code": error.code, "text": str(error), "may_pass": not lasts})
    except Exception as error:
        traceback.print_exc()
        text = f"a bug in mlflow-dbimage; please report it with the log: {type(error).__name__}"
        reporter.report("failed", {"code": "bug", "text": text, "may_pass": False})


class Reporter:
    """Writes reports, and shows progress by them (`progress.Progress`).

    Args:
        stream: That the worker reads.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def report(self, kind: str, data: object) -> None:
        """Write one report."""
        with self._lock:
            self._stream.write(json.dumps({"kind": kind, "data": data}).encode() + b"\n")
            self._stream.flush()

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Report that a step begins, how far it is, and what came of it."""
        started = time.monotonic()
        self.report("stage", text)
        step = _ReportedStep(text, self)
        try:
            yield step
        except BaseException:
            self.report("line", f"{text}: stopped after {time.monotonic() - started:.1f} s")
            raise
        note = f": {step.text}" if step.text else ""
        self.report("line", f"{text}{note} ({time.monotonic() - started:.1f} s)")


class _ReportedStep:
    def __init__(self, name: str, reporter: Reporter) -> None:
        self._name = name
        self._reporter = reporter
        self._total = self._done = 0
        self._said_at = time.monotonic()
        self.text = ""

    def total(self, count: int) -> None:
        """Remember how much there is to do."""
        self._total = count

    def advance(self, count: int = 1) -> None:
        """Report the share that is done, now and then."""
        self._done += count
        now = time.monotonic()
        if self._total and now - self._said_at > _SHARE_SECONDS:
            self._said_at = now
            self._reporter.report("stage", f"{self._name}: {min(100, 100 * self._done // self._total)} %")

    def note(self, text: str) -> None:
        """Remember what came of it."""
        self.text = text


def _build(wanted: Mapping[str, Any], reporter: Reporter, allowed: threading.Event) -> None:
    request = BuildRequest.from_strings(
        wanted["name"], wanted["model_uri"], wanted["config"], target=wanted["target"], mode="replace"
    )
    tools = default_tools(request.settings, reporter)
    moved = _moved(wanted["model_uri"], wanted["alias"], tools.store)
    if moved is not None:
        reporter.report("moved", moved)
        return

    def wait() -> None:
        reporter.report("naming", None)
        allowed.wait()  # a build that is lost or cancelled is ended instead

    tools = replace(tools, destination=AllowedNaming(tools.destination, wait))
    reporter.report("done", pipeline.build(request, tools).to_dict())


def _moved(model_uri: str, alias: str | None, store: ModelStore) -> str | None:
    """Say where the alias is for which a version is wanted, if it is elsewhere; deliveries come in any order."""
    if alias is None:
        return None
    wanted = model_reference.parse(model_uri)
    try:
        found = store.find(model_reference.parse(f"models:/{wanted.name}@{alias}"))
    except InputError:
        return f"the alias `{alias}` was taken away"
    if found.version == wanted.version:
        return None
    return f"the alias `{alias}` is on version {found.version} by now"


def _own_output() -> IO[bytes]:
    """Take the standard output for reports; what libraries write to it goes to the log."""
    ours = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(ours, "wb")


def _watch_worker(allowed: threading.Event) -> None:
    """Hear when the worker allows the name, and end this session when it ends: it writes to our standard input."""
    while os.read(sys.stdin.fileno(), 1024):
        allowed.set()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _end(*_: object) -> NoReturn:
    """Leave by way of every `finally`: what is half-written goes."""
    raise SystemExit(1)


if __name__ == "__main__":
    with short_process():
        main()
