"""MLflow's own tracking server and registry, on loopback, with its database and artifacts in a folder."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.ports import free_port

#: What lets a server send its webhooks to loopback by plain http, and read their secrets after a restart.
MAY_CALL_LOOPBACK = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
    # Otherwise a server that has looked for webhooks once sees new ones a minute later.
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",
}

CLONE = Path(__file__).resolve().parent.parent.parent

# The server needs the whole of MLflow; the environment of development has it, whichever runs the tests.
_DEVELOPMENT = CLONE / ".venv" / "bin" / "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningMlflow:
    """A tracking server that answers."""

    uri: str
    """`http://127.0.0.1:port`."""
    directory: Path
    log: Path
    group: int
    """The group of its processes."""


@contextmanager
def mlflow_server(directory: Path, port: int | None = None, **variables: str) -> Iterator[RunningMlflow]:
    """Run a tracking server as long as the context lasts.

    Args:
        directory: For its database, its artifacts and its log; made if it is not there.
        port: Of loopback; a free one by default.
        variables: Environment variables of it alone.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, log = port or free_port(), directory / "server.log"
    python = _DEVELOPMENT if _DEVELOPMENT.exists() else Path(sys.executable)
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(directory / "artifacts")]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env={**_surroundings(), **variables},
            start_new_session=True,
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _wait(process, uri, log)
        yield RunningMlflow(uri=uri, directory=directory, log=log, group=process.pid)
    finally:
        _stop(process)


def _surroundings() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    # What the server needs of a machine without a network: it would ask for jobs, news and usage otherwise.
    ours = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**kept, **ours}


def _stop(process: subprocess.Popen[bytes]) -> None:
    # The server starts workers; they share the session that we gave it.
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
    process.wait(10)


def _wait(process: subprocess.Popen[bytes], uri: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if _answers(uri):
            return
        time.sleep(0.2)
    raise RuntimeError(f"MLflow's server does not answer; its log ends:\n{log.read_text()[-2000:]}")


def _answers(uri: str) -> bool:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=2).close()
    except OSError:
        return False
    return True
