"""Layers against the limit: the bare steps of making them, on the same files, in the same run; and sizes.

The bare steps are read, frame, hash, compress, hash again, with nothing around them: no writing, no order, no
parents. Both are done by this machine's cores at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import conda_pack

from mlflow_dbimage import model_layers, packed_env, pipeline
from mlflow_dbimage.backends import default_tools
from mlflow_dbimage.build_request import BuildRequest
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.tar import EntryKind, TarEntry
from mlflow_dbimage.packed_env import IMAGE_PREFIX, PackedEnv
from mlflow_dbimage.progress import SilentProgress
from scripts.bench.meter import Usage, metered
from scripts.bench.results import Cost, Results, Scenario
from scripts.bench.workshop import MODEL, Workshop

_BLOCK = 512
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The model's environment, installed from the same lock, without byte code."""

    prefix: Path
    packed: PackedEnv
    lock_files: dict[str, bytes]


def layers(workshop: Workshop, results: Results, cache: Path, runs: int) -> None:
    """Measure the environment's layers, and the bare steps on their files, in turns."""
    costs: dict[str, list[Cost]] = {"limit": [], "layers": []}
    with installed(workshop, cache) as environment:
        results.figures["environment-bytes"] = float(environment.packed.size)
        for _ in range(runs):
            costs["limit"].append(Cost(usage=_bare(environment.packed)))
            costs["layers"].append(_layers(environment, workshop.folder / "layers"))
    for key, way, title in (
        ("limit", "the limit", "read, frame, hash, compress and hash the environment's files"),
        ("layers", "mlflow-dbimage", "the environment's layers, of the same files"),
    ):
        results.add(Scenario(key=key, way=way, title=title, costs=tuple(costs[key])))


def archive(workshop: Workshop, results: Results, cache: Path) -> None:
    """Measure conda-pack's archive of the environment, as it is made by default."""
    target = workshop.folder / "environment.tar.gz"
    with installed(workshop, cache) as environment, metered() as usages:
        conda_pack.pack(prefix=str(environment.prefix), output=str(target))
    results.add(
        Scenario(
            key="conda-pack",
            way="conda-pack",
            title="its default tar.gz of the same environment",
            costs=(Cost(usage=usages[0], added=target.stat().st_size),),
            note="packing alone, of the environment installed from the same lock, without byte code",
        )
    )
    target.unlink()


@contextmanager
def installed(workshop: Workshop, cache: Path) -> Iterator[Installed]:
    """Install the lock of the model's first version."""
    with patch.dict(os.environ, workshop.variables(cache)):
        request = BuildRequest.from_strings(MODEL, workshop.version(1), {}, mode="replace")
        tools = default_tools(request.settings, SilentProgress())
        with pipeline.plan(request, tools) as planned:
            prefix = planned.work / "env"
            tools.makers.installer.install(planned.locked, prefix, IMAGE_PREFIX, SilentProgress())
            channels = planned.locked.channel_urls()
            packed = packed_env.pack(prefix, tools.makers.packer, IMAGE_PREFIX, channel_urls=channels)
            yield Installed(
                prefix=prefix,
                packed=packed,
                lock_files=dict(planned.locked.files()),
            )


def _layers(environment: Installed, folder: Path) -> Cost:
    folder.mkdir(exist_ok=True)
    style = model_layers.LayerStyle(directory=folder, compression=Compression.named("gzip"), parents={})
    with metered() as usages:
        groups = model_layers.group(environment.packed, 12)
        made = model_layers.write_environment(groups, environment.lock_files, style)
    return Cost(usage=usages[0], added=sum(each.descriptor.size for each in made))


def _bare(environment: PackedEnv) -> Usage:
    global _ENTRIES  # noqa: PLW0603  # forked processes have it: what opens files cannot be sent to them
    _ENTRIES = [each for part in environment.distributions for each in part.entries if each.kind is EntryKind.FILE]
    shares = halves([each.size for each in _ENTRIES], os.cpu_count() or 1)
    with metered() as usages, ProcessPoolExecutor(len(shares), mp_context=get_context("fork")) as pool:
        list(pool.map(_bare_steps, shares))
    return usages[0]


_ENTRIES: Sequence[TarEntry] = ()


def _bare_steps(share: Sequence[int]) -> int:
    steps = _Steps()
    for position in share:
        entry = _ENTRIES[position]
        assert entry.content is not None
        with entry.content() as stream:
            steps.take(bytes(_BLOCK))
            while data := stream.read(_CHUNK):
                steps.take(data)
    steps.pass_on()
    return steps.size


class _Steps:
    """Hash, compress, hash: gathered, as they are fastest."""

    def __init__(self) -> None:
        self.size = 0
        self._plain, self._compressed = hashlib.sha256(), hashlib.sha256()
        self._compressor = Compression.named("gzip").compressor()
        self._waiting: list[bytes] = []
        self._length = 0

    def take(self, data: bytes) -> None:
        self._waiting.append(data)
        self._length += len(data)
        if self._length >= _CHUNK:
            self.pass_on()

    def pass_on(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._length = 0
        self._plain.update(data)
        small = self._compressor.compress(data)
        self._compressed.update(small)
        self.size += len(small)


def halves(sizes: Sequence[int], shares: int) -> list[list[int]]:
    """Share positions out so that the sums of their sizes are as equal as the largest allow."""
    made: list[list[int]] = [[] for _ in range(shares)]
    sums = [0] * shares
    for position in sorted(range(len(sizes)), key=lambda each: -sizes[each]):
        least = sums.index(min(sums))
        made[least].append(position)
        sums[least] += sizes[position]
    return made
