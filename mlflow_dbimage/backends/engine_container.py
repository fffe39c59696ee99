"""One container of a run: made, watched and removed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from docker.types import LogConfig, Mount

from mlflow_dbimage.backends.score_files import ResultFolder, result_folder
from mlflow_dbimage.image_run import KEPT_LINES, Ended, ScoreRequest

_INPUT = "/dbimage/input"
_OUTPUT = "/dbimage/output"


def run_container(
    client: Any, reference: str, request: ScoreRequest, user: str, report: Callable[[str], None]
) -> Ended:
    """Run the scoring program of an image in a container; foreign exceptions pass.

    Args:
        client: Of the Docker SDK.
        reference: Of the image.
        request: What to score.
        user: `uid:gid` in the container.
        report: Told each line that the program writes.
    """
    with result_folder(request) as results:
        inside = f"{_INPUT}/{request.input.name}"
        places = {request.input: inside}
        places |= {place: f"{_OUTPUT}/{name}" for place, name in results.names().items()}
        _open_to(user, results.path)
        container = client.containers.create(
            reference,
            list(request.arguments(places)),
            user=user,
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108  # in the container
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type=LogConfig.types.JSON),
            mounts=[
                Mount(inside, str(request.input.resolve()), type="bind", read_only=True),
                Mount(_OUTPUT, str(results.path.resolve()), type="bind"),
            ],
        )
        try:
            ended = _watched(container, report)
        finally:
            container.remove(force=True)
        if ended.exit_code == 0:
            _take_over(results)
            results.publish()
        return ended


def _watched(container: Any, report: Callable[[str], None]) -> Ended:
    container.start()
    last_lines: deque[str] = deque(maxlen=KEPT_LINES)
    for line in _lines(container.logs(stream=True, follow=True)):
        last_lines.append(line)
        report(line)
    state = container.wait()
    return Ended(exit_code=int(state["StatusCode"]), messages="\n".join((*last_lines, *_cause(container))))


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if rest:
        yield rest.decode("utf-8", "replace")


def _cause(container: Any) -> tuple[str, ...]:
    """Say what the program itself cannot: that it was killed for want of memory."""
    container.reload()
    killed = container.attrs["State"].get("OOMKilled")
    return ("error: the container ran out of memory and was killed",) if killed else ()


def _open_to(user: str, folder: Path) -> None:
    """Let the container's user write results, whoever that is outside."""
    uid, gid = map(int, user.split(":"))
    if os.getuid() == 0:
        os.chown(folder, uid, gid)
    elif uid not in (0, os.getuid()):
        folder.chmod(0o777)


def _take_over(results: ResultFolder) -> None:
    """Make results the caller's: in the container they were written by another user where the caller is root."""
    for name in results.names().values():
        path = results.path / name
        if os.getuid() == 0:
            os.chown(path, 0, 0, follow_symlinks=False)
