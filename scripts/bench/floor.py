"""The floor: what must be paid whatever makes the image, and what starting our commands costs beside it."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.bench.meter import run
from scripts.bench.results import Cost, Results, Scenario
from scripts.bench.workshop import DBIMAGE, MODEL, Workshop

_LOOK_UP = """\
import sys, mlflow
client = mlflow.MlflowClient()
version = client.get_model_version(sys.argv[1], sys.argv[2])
mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=sys.argv[3])
"""
# In one process: two starts of MLflow differ by more than our door takes.
_DOOR = """\
import time, mlflow.deployments
started = time.perf_counter()
import plugin_entrypoints.deployments
print(time.perf_counter() - started)
"""
_CLI = "import plugin_entrypoints.cli"


def measure(workshop: Workshop, results: Results, runs: int) -> None:
    """Measure MLflow's start, its look-up and download of a version, and the start of our doors.

    All are run once before, so that byte code and disk are warm for each alike, and then in turns.
    """
    cache = workshop.folder / "caches" / "floor"
    variables = workshop.variables(cache)
    target = workshop.folder / "downloaded"
    commands: dict[str, tuple[str, str, Sequence[str]]] = {
        "mlflow": ("MLflow", "`mlflow --version`", (sys.executable, "-m", "mlflow", "--version")),
        "floor": (
            "MLflow",
            "look-up and download of a version",
            (sys.executable, "-c", _LOOK_UP, MODEL, "1", str(target)),
        ),
        "import-cli": ("mlflow-dbimage", "importing the `dbimage` command", (sys.executable, "-c", _CLI)),
        "help": ("mlflow-dbimage", "`dbimage --help`", (*DBIMAGE, "--help")),
    }
    costs: dict[str, list[Cost]] = {key: [] for key in commands}
    for number in range(runs + 1):
        for key, (_, _, command) in commands.items():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            usage = run(command, environment=variables, directory=Path(workshop.folder)).usage
            if number > 0:
                costs[key].append(Cost(usage=usage))
    for key, (way, title, _) in commands.items():
        results.add(Scenario(key=key, way=way, title=title, costs=tuple(costs[key])))
    results.figures["door"] = door_seconds(runs, variables)


def door_seconds(runs: int, variables: Mapping[str, str]) -> float:
    """Return what importing our door takes, in seconds, where MLflow's own module is imported."""
    command = (sys.executable, "-c", _DOOR)
    return statistics.median([float(run(command, environment=variables).output) for _ in range(runs + 1)][1:])
