"""What a first image and a new version cost, beside conda-pack's own archive of the same environment.

`make bench` prints ratios of one run on one machine, with downloads warm; they are no test of time. It fails where
a result is wrong: two cold builds that do not give one digest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conda_pack
from rich.console import Console
from rich.table import Table

import sample_models
from mlflow_dbimage import pipeline
from mlflow_dbimage.backends import default_tools
from mlflow_dbimage.build_request import BuildRequest
from mlflow_dbimage.packed_env import IMAGE_PREFIX
from mlflow_dbimage.progress import SilentProgress
from sample_models.conda_channel import make_channel

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".cache" / "bench"
SAMPLE = "sklearn-churn"


def main() -> None:
    """Measure, print, and fail on a wrong result."""
    model, target = BENCH / "model", BENCH / "images"
    for path in (model, target):
        shutil.rmtree(path, ignore_errors=True)
    sample_models.make(SAMPLE, model)
    channel = make_channel(BENCH / "channel").url
    os.environ.update(
        DBIMAGE_CACHE_DIR=str(BENCH / "cache"),
        DBIMAGE_CHANNEL_MAP=f"conda-forge={channel},defaults={channel}",
        DBIMAGE_BASE_IMAGE="apt:bookworm",
    )
    warm_up = _build(model, target)
    _forget()
    shutil.rmtree(target)
    first = _build(model, target)
    (model / "notes.txt").write_text("a new version of the model")
    second = _build(model, target)
    _show(_conda_pack(model), {"first image, whole build": first, "new version, same environment": second})
    if warm_up.receipt["digest"] != first.receipt["digest"]:
        sys.exit("two cold builds of the same model gave two digests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One build."""

    receipt: dict[str, Any]
    seconds: float
    memory: int
    """Peak of the process, in bytes."""


def _build(model: Path, target: Path) -> Measured:
    command = [str(Path(sys.executable).with_name("dbimage")), "build", str(model), "--name", "bench"]
    command += ["--mode", "replace", "--json", "--quiet", "-t", f"oci:{target}"]
    with _stopwatch() as seconds, subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"a build ended with {process.returncode}")
    return Measured(receipt=json.loads(output), seconds=seconds[0], memory=usage.ru_maxrss * 1024)


def _forget() -> None:
    """Forget what was made, and keep what was downloaded and the base."""
    for part in ("records/locks", "records/environments"):
        shutil.rmtree(BENCH / "cache" / part, ignore_errors=True)


def _conda_pack(model: Path) -> tuple[int, float]:
    """Install the same lock, and pack it as conda-pack does by default; only the packing is timed."""
    request = BuildRequest.from_strings("bench", str(model), {}, target=f"oci:{BENCH / 'images'}", mode="replace")
    tools = default_tools(request.settings, SilentProgress())
    output = BENCH / "environment.tar.gz"
    output.unlink(missing_ok=True)
    with pipeline.plan(request, tools) as planned:
        prefix = planned.work / "env"
        tools.makers.installer.install(planned.locked, prefix, IMAGE_PREFIX, SilentProgress())
        with _stopwatch() as seconds:
            conda_pack.pack(prefix=str(prefix), output=str(output))
    return output.stat().st_size, seconds[0]


@contextmanager
def _stopwatch() -> Iterator[list[float]]:
    taken: list[float] = []
    started = time.monotonic()
    yield taken
    taken.append(time.monotonic() - started)


def _show(peer: tuple[int, float], builds: dict[str, Measured]) -> None:
    size, reference = peer
    table = Table("what", "seconds", "of conda-pack's", "MB above the base", "MB sent", "MB of memory")
    table.add_row("conda-pack's tar.gz alone", f"{reference:.1f}", "1.00", f"{size / 1e6:.1f}", "", "")
    for title, build in builds.items():
        sizes = (build.receipt["added_size"], build.receipt["sent_size"], build.memory)
        figures = (f"{build.seconds:.1f}", f"{build.seconds / reference:.2f}")
        table.add_row(title, *figures, *(f"{each / 1e6:.1f}" for each in sizes))
    Console().print(table)


if __name__ == "__main__":
    main()
