"""The command webhook serve: the door, and workers beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plugin_entrypoints.cli.extras import DOOR, must_have
from plugin_entrypoints.cli.options import Common, common

if TYPE_CHECKING:
    import socket

    import uvicorn

    from mlflow_dbimage.settings import Settings

# The door is another door: it is named to the server that runs it, and not imported here.
_DOOR = "plugin_entrypoints.webhook:create_app"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MOST_CONNECTIONS = 512


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the token of the page and the API, in the place of `service_token`.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 16),
    default=1,
    show_default=True,
    help="Workers to run beside the door; with 0 builds wait for `dbimage worker`.",
)
@common
def serve(common: Common, host: str, port: int, token_file: Path | None, workers: int) -> None:
    """Take events of registries, show builds, and make them.

    Without a token or a trusted proxy it listens on this machine's loopback alone.
    """
    if token_file is not None:
        os.environ["DBIMAGE_SERVICE_TOKEN"] = f"file:{token_file.absolute()}"
    _hand_on(common)
    settings = common.settings()
    _must_ask_who_calls(settings, host)
    if not settings.webhook_secrets and not settings.webhook_unsigned:
        click.echo("warning: no `webhook_secrets` are set, so every delivery is refused", err=True)
    must_have(DOOR)
    listening = _listen(host, port)
    address = f"http://{_bracketed(host)}:{listening.getsockname()[1]}"
    said = {"url": address, "workers": workers}
    _serve(_door(lambda: common.show(said, f"serving {address}")), listening, workers)


#: For the group `webhook`.
COMMANDS = (serve,)


def _hand_on(common: Common) -> None:
    """Set what the command line sets in the environment, which the door, workers and builds read."""
    for key, value in common.given.items():
        os.environ[f"DBIMAGE_{key.upper()}"] = str(value)
    if common.target is not None:
        os.environ["DBIMAGE_TARGET"] = common.target


def _must_ask_who_calls(settings: Settings, host: str) -> None:
    from mlflow_dbimage.errors import UsageError

    if (settings.service_proxy_header is None) != (not settings.service_proxies):
        raise UsageError("bad-value", "`service_proxy_header` and `service_proxies` need each other")
    if host in _LOOPBACK or settings.service_token is not None or settings.service_proxies:
        return
    raise UsageError(
        "bad-value",
        f"on `{host}` the page and the API would be open to everybody",
        hint="set `service_token`, or `service_proxy_header` and `service_proxies`, or listen on 127.0.0.1",
    )


def _listen(host: str, port: int) -> socket.socket:
    """Listen at once, so that a port that is taken is told as any other error."""
    import socket

    from mlflow_dbimage.errors import ServiceError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ServiceError(
            "listen-failed",
            f"cannot listen on `{_bracketed(host)}:{port}`: {error.strerror}",
            hint="choose another address or port",
        ) from error


def _door(announce: Callable[[], None]) -> uvicorn.Server:
    """Open the door: what is wrong with the settings is told before anybody may call, and it is announced then."""
    import uvicorn

    class Door(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            announce()

    config = uvicorn.Config(
        _DOOR,
        factory=True,
        lifespan="off",
        log_level="warning",
        proxy_headers=False,  # who a trusted proxy is, the settings say
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
    )
    config.load()
    return Door(config)


def _serve(server: uvicorn.Server, listening: socket.socket, workers: int) -> None:
    """Run the door until told to stop, and workers beside it; these stop after it, in their own time."""
    import signal

    from mlflow_dbimage.backends.worker_process import WorkerProcess
    from mlflow_dbimage.errors import ServiceError

    failures: list[int] = []

    def ended(status: int) -> None:  # nobody shall believe that builds are made
        failures.extend([status] if status and not server.should_exit else [])
        server.should_exit = True

    def stop(*_: object) -> None:  # before the server minds signals; it hands its own on when it has stopped
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    beside: list[WorkerProcess] = []
    try:
        beside += (WorkerProcess(ended) for _ in range(workers))
        server.run(sockets=[listening])
    finally:
        for worker in beside:
            worker.stop()
        for worker in beside:
            worker.wait()
    if failures:
        raise ServiceError(
            "program-failed",
            f"a worker ended by itself, with status {failures[0]}",
            hint="what it said stands above; `--workers 0` serves without one",
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
