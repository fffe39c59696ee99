"""One container of a check: made within limits, waited for and removed."""

from __future__ import annotations

from typing import Any

import requests
from docker.types import LogConfig

from mlflow_dbimage.image_check import (
    CHECK_USER,
    KEPT_LINES,
    MOST_REPORT,
    CheckLimits,
    CheckRun,
    read_report,
    tail,
)
from mlflow_dbimage.model_layers import SCORE_PATH


def check_in_container(client: Any, reference: str, limits: CheckLimits) -> CheckRun:
    """Run the check of an image in a container; foreign exceptions pass.

    Args:
        client: Of the Docker SDK.
        reference: Of the image.
        limits: Of time, memory and processes.
    """
    container = client.containers.create(
        reference,
        ["--check"],
        entrypoint=[SCORE_PATH],
        user=f"{CHECK_USER}:{CHECK_USER}",
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108  # in the container
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=limits.memory,
        memswap_limit=limits.memory,
        pids_limit=limits.processes,
        log_config=LogConfig(type=LogConfig.types.JSON),
    )
    try:
        container.start()
        in_time = _ended_in_time(container, limits.seconds)
        return _run(container, in_time=in_time)
    finally:
        container.remove(force=True)


def _ended_in_time(container: Any, seconds: float) -> bool:
    """Wait for a container; one that takes longer is killed."""
    try:
        container.wait(timeout=seconds)
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
        container.reload()  # raises, if it is the engine that does not answer
        if container.attrs["State"]["Running"]:
            container.kill()
            container.wait()
            return False
    return True


def _run(container: Any, *, in_time: bool) -> CheckRun:
    container.reload()
    state = container.attrs["State"]
    output = _at_most(container.logs(stdout=True, stderr=False, stream=True), MOST_REPORT)
    messages = container.logs(stdout=False, stderr=True, tail=KEPT_LINES)
    return CheckRun(
        how="engine",
        report=read_report(output) if in_time else None,
        exit_code=int(state["ExitCode"]),
        messages=tail(messages.decode("utf-8", "replace")),
        stopped_by="time" if not in_time else "memory" if state.get("OOMKilled") else None,
    )


def _at_most(chunks: Any, size: int) -> bytes:
    """Join chunks; what has more bytes than that is cut, and so is no report."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > size:
            break
    return bytes(data[:size])
