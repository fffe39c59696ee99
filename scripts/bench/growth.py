"""How cost grows: with the environment, with the model, and with the images in one registry.

Packages and models are synthetic: of each 4 kB, a quarter is random and the rest is not, so that compressors find
about what they find in real ones. Growth with images is that of a stated team: ten environments that share most of
their packages, a model in each, a new version of each model every week, and every fourth week one package of each
environment moves to its next version.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from light_build import greeting_wheel, light_model
from mlflow_dbimage import pipeline
from mlflow_dbimage.backends import default_tools
from mlflow_dbimage.build_request import BuildRequest
from mlflow_dbimage.progress import SilentProgress
from scripts.bench.meter import metered
from scripts.bench.results import Results
from scripts.bench.workshop import Workshop
from services.package_mirror import write_index
from toy_channel import ToyPackage, distribution_files, make_toy_channel, toy_python
from toy_wheels import make_wheel

_MEGABYTE = 1_000_000
_WHEEL = 50 * _MEGABYTE
_WRITE = 8 * _MEGABYTE
# A package of this size has a layer of its own.
_OWN_LAYER = 13 * _MEGABYTE
ENVIRONMENTS, LARGE, SMALL_ONES, MONTH = 10, 8, 20, 4


def content(seed: int, size: int) -> bytes:
    """Return bytes that are always the same for a seed; a quarter of each 4 kB is random."""
    source = random.Random(seed)
    parts = [source.randbytes(1024) + bytes(3072) for _ in range(-(-size // 4096))]
    return b"".join(parts)[:size]


def environments(workshop: Workshop, results: Results, gigabytes: Sequence[float]) -> None:
    """Build and push environments of about these sizes; what Python itself has comes on top."""
    results.growth["environments"] = [_environment(workshop, size) for size in gigabytes]


def _environment(workshop: Workshop, gigabytes: float) -> dict[str, Any]:
    folder = workshop.folder / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    files = folder / "files"
    files.mkdir(parents=True)
    greeting_wheel(files)
    names = [f"part-{number}" for number in range(max(1, round(gigabytes * 1e9 / _WHEEL)))]
    size = round(gigabytes * 1e9 / len(names))
    for number, name in enumerate(names):
        module = name.replace("-", "_")
        parts = {f"{module}/{part}.bin": content(1000 * number + part, size // 10) for part in range(10)}
        make_wheel(files, name, files={f"{module}/__init__.py": b"", **parts})
    model = light_model(folder / "model", *(f"{name}==1.0" for name in names))
    index = write_index(files, folder / "simple")
    cache = workshop.empty_cache("growth")
    for part in ("uv", "wheels"):  # of no use to anybody else
        (cache / part).unlink()
    point = _built(workshop, cache, model, DBIMAGE_INDEX_URL=index)
    shutil.rmtree(folder)
    return {"bytes": gigabytes * 1e9, **point}


def models(workshop: Workshop, results: Results, gigabytes: Sequence[float]) -> None:
    """Build and push models with one file of these sizes, on an environment that was made before."""
    folder = workshop.folder / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    greeting_wheel(folder / "files")
    index = write_index(folder / "files", folder / "simple")
    model = light_model(folder / "model")
    cache = workshop.empty_cache("growth")
    _built(workshop, cache, model, keep=True, DBIMAGE_INDEX_URL=index)
    kept = set((cache / "blobs").iterdir())
    points = []
    for size in gigabytes:
        with (model / "weights.bin").open("wb") as stream:
            for number in range(round(size * 1e9 / _WRITE)):
                stream.write(content(number % 16, _WRITE - 4096) + random.Random(number).randbytes(4096))
        points.append({"bytes": size * 1e9, **_built(workshop, cache, model, keep=True, DBIMAGE_INDEX_URL=index)})
        for path in set((cache / "blobs").iterdir()) - kept:
            path.unlink()
    results.growth["models"] = points
    shutil.rmtree(folder)
    shutil.rmtree(cache)


def _built(workshop: Workshop, cache: Path, model: Path, *, keep: bool = False, **more: str) -> dict[str, Any]:
    """Build a model, take the image out of the registry again, and return what it cost."""
    state = workshop.store.state()
    command = ("build", str(model), "--name", "grown", "--mode", "replace", "-t", f"//{workshop.store.host}/grown")
    done, receipt = workshop.dbimage(*command, cache=cache, more=more)
    workshop.store.forget_since(state)
    if not keep:
        shutil.rmtree(cache)
    usage = done.usage
    return {
        "seconds": usage.seconds,
        "cpu": usage.cpu,
        "memory": usage.memory,
        "written": usage.written,
        "added": receipt["added_size"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment of the team in some week: the version of each of its packages."""

    packages: Mapping[str, int]

    @property
    def lines(self) -> tuple[str, ...]:
        """Its requirements."""
        return tuple(f"{name}=={version}.0" for name, version in sorted(self.packages.items()))


def team(weeks: int) -> Iterator[tuple[int, int, Environment]]:
    """Give week, number of the environment, and the environment, image by image.

    Each environment has eight of ten large packages and twenty small ones, so that any two share most. Every
    fourth week one of its packages, another one each time, moves; large and small take turns, as releases do not
    ask for size.
    """
    for week in range(weeks):
        for number in range(ENVIRONMENTS):
            large = [f"large-{(number + each) % (LARGE + 2)}" for each in range(LARGE)]
            names = [*large, *(f"small-{each}" for each in range(SMALL_ONES))]
            packages = dict.fromkeys(names, 1)
            for move in range(week // MONTH):
                turn = move + number
                packages[large[turn % LARGE] if move % 2 == 0 else f"small-{turn % SMALL_ONES}"] += 1
            yield week, number, Environment(packages=packages)


def registry(workshop: Workshop, results: Results, weeks: int) -> None:
    """Push the team's images, by package and with each environment in one layer, and watch the registry grow."""
    folder = workshop.folder / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    index, channel = _light_packages(folder, weeks)
    state = workshop.store.state()
    found: dict[str, list[dict[str, float]]] = {}
    for layout, layers in (("by package", "12"), ("one layer", "1")):
        cache = workshop.empty_cache("growth", downloads=False)
        variables = workshop.variables(
            cache,
            DBIMAGE_INDEX_URL=index,
            DBIMAGE_CHANNEL_MAP=f"conda-forge={channel}",
            DBIMAGE_BYTECODE="none",
            DBIMAGE_LAYERS=layers,
        )
        with patch.dict(os.environ, variables, clear=True):
            found[layout] = list(_pushed_week_by_week(workshop, folder / "models", weeks))
        workshop.store.forget_since(state)
        shutil.rmtree(cache)
    results.growth["registry"] = found
    shutil.rmtree(folder)


def _light_packages(folder: Path, weeks: int) -> tuple[str, str]:
    """Make all versions of all packages of the team, and a channel whose Python is a link to this one."""
    files = folder / "files"
    files.mkdir(parents=True)
    greeting_wheel(files)
    known = {each for _, _, environment in team(weeks) for each in environment.packages.items()}
    for name, version in sorted(known):
        module = name.replace("-", "_")
        size = _OWN_LAYER if name.startswith("large") else _MEGABYTE // 5
        data = content(hash_of(name, version), size)
        make_wheel(files, name, f"{version}.0", {f"{module}/__init__.py": b"", f"{module}/data.bin": data})
    python = platform.python_version()
    pip = distribution_files("pip", "24.0", ".".join(python.split(".")[:2]))
    packages = [toy_python(python), ToyPackage(name="pip", version="24.0", files=pip)]
    return write_index(files, folder / "simple"), make_toy_channel(folder / "channel", packages)


def hash_of(name: str, version: int) -> int:
    """Return a seed that is the same in every process."""
    return int.from_bytes(f"{name} {version}".encode(), "big") % (1 << 32)


def _pushed_week_by_week(workshop: Workshop, models: Path, weeks: int) -> Iterator[dict[str, float]]:
    begin = sum(workshop.store.blobs().values())
    for count, (week, number, environment) in enumerate(team(weeks), 1):
        model = light_model(models / f"{week}-{number}", *environment.lines)
        (model / "notes.txt").write_text(f"week {week}\n")
        before = workshop.store.count.sent
        with metered() as usages:
            request = BuildRequest.from_strings(
                f"team-{number}", str(model), {}, target=f"//{workshop.store.host}/grown", mode="replace"
            )
            receipt = pipeline.build(request, default_tools(request.settings, SilentProgress()))
        now = sum(workshop.store.blobs().values())
        yield {
            "images": count,
            "registry": now - begin,
            "pushed": workshop.store.count.sent - before,
            "whole": receipt.added_size,
            "seconds": usages[0].seconds,
        }
        shutil.rmtree(model)
