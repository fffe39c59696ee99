"""A container registry of the tests' own: Debian's `docker-registry` on loopback."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.ports import free_port

_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {data}}}
  delete: {{enabled: {delete}}}
http:
  addr: 127.0.0.1:{port}
{auth}"""
_AUTH = """\
auth:
  htpasswd: {{realm: tests, path: {path}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRegistry:
    """A registry that answers."""

    host: str
    """`127.0.0.1:port`."""
    log: Path


@contextmanager
def registry_server(
    directory: Path, *, login: tuple[str, str] | None = None, delete: bool = True, port: int | None = None
) -> Iterator[RunningRegistry]:
    """Run a registry as long as the context lasts.

    Args:
        directory: For its data and its log; made if it is not there.
        login: The user and password that it asks for; None where anybody may push.
        delete: Whether manifests may be deleted.
        port: Of loopback; a free one by default.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, log = port or free_port(), directory / "registry.log"
    config = directory / "config.yml"
    config.write_text(
        _CONFIG.format(
            data=directory / "data",
            delete=str(delete).lower(),
            port=port,
            auth=_AUTH.format(path=_passwords(directory, login)) if login else "",
        )
    )
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=stream,
            stderr=stream,
            env=_surroundings(),
            start_new_session=True,
        )
    try:
        _wait(process, port, log)
        yield RunningRegistry(host=f"127.0.0.1:{port}", log=log)
    finally:
        process.terminate()
        process.wait(20)


def _surroundings() -> dict[str, str]:
    # No REGISTRY_* of somebody's: they are settings. CI knows by the second what it has started.
    kept = {name: os.environ[name] for name in ("PATH", "STARTED_BY_CI_RUN") if name in os.environ}
    return {**kept, "OTEL_TRACES_EXPORTER": "none"}


def _passwords(directory: Path, login: tuple[str, str]) -> Path:
    path = directory / "htpasswd"
    # The password travels on standard input: `-b` would show it in the list of processes.
    done = subprocess.run(
        ["htpasswd", "-niB", login[0]], input=login[1], capture_output=True, text=True, check=True
    )
    path.write_text(done.stdout)
    return path


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        if _answers(port):
            return
        time.sleep(0.05)
    raise RuntimeError(f"docker-registry does not answer; its log ends:\n{log.read_text()[-2000:]}")


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2).close()
    except urllib.error.HTTPError as error:
        error.close()  # it asks who we are
    except OSError:
        return False
    return True
