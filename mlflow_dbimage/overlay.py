"""What an environment has that its golden base has not, and what the base has that is to be seen no more.

The unit is the distribution: one of which any file differs is laid whole, so that a layer depends on nothing but
its own package. Pure functions over states of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_dbimage.base_environment import BaseEnvironment, FileState
from mlflow_dbimage.oci.tar import hiding
from mlflow_dbimage.packed_env import PackedDistribution, PackedEnv


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What is laid over a base's environment, so that another one is seen there."""

    kept: tuple[PackedDistribution, ...]
    """Of which the base has every file as it is to be."""
    added: tuple[PackedDistribution, ...]
    """Of which it has not: these are laid whole."""
    whiteouts: tuple[str, ...]
    """Paths of the base to hide, relative to the image's root, sorted; a folder where all in it goes.

    They go into a layer of their own, beneath those of `added`, and never hide a path of the environment.
    """


def difference(
    packed: PackedEnv, states: Mapping[str, FileState], base: BaseEnvironment, *, compiled: bool = True
) -> Overlay:
    """Compare an environment with its base's.

    Args:
        packed: The environment that is to be seen.
        states: The state of each of its files, by path.
        base: What the base has.
        compiled: Whether the environment has the byte code that it is to have. If not, since its Python does not
            run here, the base's stays for sources that stay.
    """
    kept: list[PackedDistribution] = []
    added: list[PackedDistribution] = []
    for distribution in packed.distributions:
        same = all(states[entry.path] == base.files.get(entry.path) for entry in distribution.entries)
        (kept if same else added).append(distribution)
    staying = {entry.path for distribution in packed.distributions for entry in distribution.entries}
    if not compiled:
        sources = {entry.path for distribution in kept for entry in distribution.entries}
        staying |= {path for path in base.files if _source_of(path) in sources}
    gone = base.files.keys() - staying
    return Overlay(kept=tuple(kept), added=tuple(added), whiteouts=hiding(gone, staying))


def _source_of(path: str) -> str | None:
    folder, mark, name = path.rpartition("/__pycache__/")
    return f"{folder}/{name.split('.', 1)[0]}.py" if mark and name.endswith(".pyc") else None
