"""A Docker engine of the tests' own: Debian's `dockerd` with its own data, socket and containerd.

It has no bridge and no firewall rules, so that several of them do not fight over `docker0`; containers get
`--network none` or `host`. Needs root. What its containers leave mounted is unmounted at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
import requests

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningEngine:
    """An engine that answers."""

    host: str
    """Value for `DOCKER_HOST`."""
    log: Path


@contextmanager
def docker_engine(directory: Path, *, seconds: float = 60) -> Iterator[RunningEngine]:
    """Run an engine as long as the context lasts.

    Args:
        directory: For its data and its log; made if it is not there.
        seconds: How long to wait for the first answer.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Paths of sockets hold 107 bytes, which folders of tests easily fill.
    runtime = Path(tempfile.mkdtemp(prefix="dbimage-engine-"))
    socket, log = runtime / "docker.sock", directory / "dockerd.log"
    command = [
        shutil.which("dockerd", path=_PATH) or "dockerd",
        *(f"--data-root={directory / 'data'}", f"--exec-root={runtime / 'exec'}"),
        *(f"--host=unix://{socket}", f"--pidfile={runtime / 'pid'}"),
        *("--bridge=none", "--iptables=false", "--ip6tables=false"),
    ]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "PATH": _PATH, "DOCKER_HOST": ""},
            start_new_session=True,  # Ctrl-C reaches the tests, which stop it in order
        )
    try:
        _wait(process, socket, log, seconds)
        yield RunningEngine(host=f"unix://{socket}", log=log)
    finally:
        _stop(process)
        _unmount_below(directory, runtime)
        shutil.rmtree(runtime, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if _answers(f"unix://{socket}"):
            return
        time.sleep(0.1)
    raise RuntimeError(f"dockerd does not answer; its log ends:\n{log.read_text()[-2000:]}")


def _answers(host: str) -> bool:
    client = docker.DockerClient(base_url=host, version="1.40")
    try:
        return client.ping()
    except (docker.errors.DockerException, requests.RequestException):
        return False
    finally:
        client.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _unmount_below(*folders: Path) -> None:
    mounts = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if any(Path(mount).is_relative_to(folder.resolve()) for folder in folders):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
