"""Layers over a base's environment, made by real programs: with the base's tree they are the environment."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage import base_environment
from mlflow_dbimage.backends.conda_pack import CondaPack
from mlflow_dbimage.backends.environment_python import EnvironmentPython
from mlflow_dbimage.base_environment import BaseEnvironment, states_in_layers
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.environment_layers import (
    EnvironmentLayers,
    EnvironmentMakers,
    EnvironmentWish,
    obtain,
)
from mlflow_dbimage.installed_env import LockInstaller
from mlflow_dbimage.locked_env import LockedEnv, lock
from mlflow_dbimage.locking.environment_solver import IndexAccess
from mlflow_dbimage.model_layers import LayerStyle
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.progress import SilentProgress
from sandboxes import sandbox
from solving import AMD64, ARM64, make_options, make_solver, make_spec
from toy_channel import ToyPackage, distribution_files, make_toy_channel, toy_python
from whole_environment import Tree, states, unpack_all

QUIET = SilentProgress()
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{MINOR}/site-packages"
PREFIX = "/opt/dbimage/env"


def distribution(name: str, version: str) -> ToyPackage:
    files = distribution_files(name, version, MINOR, f"version = {version!r}\n".encode())
    return ToyPackage(name=name, version=version, files=files)


class StrangePython(EnvironmentPython):
    """The Python of another kind of machine."""

    def can_run(self, target: Platform) -> bool:
        return False


class Workshop:
    """Solves, makes layers and unpacks them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        packages = [toy_python(f"{MINOR}.{patch}") for patch in (1, 2)]
        packages += [distribution(name, version) for name in ("one", "two") for version in ("1", "2")]
        self._channel = make_toy_channel(folder / "channel", packages)
        self._solver = make_solver(folder / "solver")
        (folder / "model").mkdir()
        (folder / "cache").mkdir()
        self._cache = BuildCache.open(folder / "cache")

    def lock(self, *conda: str, patch: int = 1) -> LockedEnv:
        spec = make_spec(self._folder / "model", f"{MINOR}.{patch}", conda=conda)
        return lock(spec, make_options(self._channel), self._solver, QUIET)

    def layers(
        self, locked: LockedEnv, base: BaseEnvironment | None = None, bytecode: str = "all", *, runs: bool = True
    ) -> EnvironmentLayers:
        kept = self._cache.directory("bytecode")
        makers = EnvironmentMakers(
            installer=LockInstaller(solver=self._solver, access=IndexAccess()),
            packer=CondaPack(),
            python=EnvironmentPython(kept, sandbox) if runs else StrangePython(kept, sandbox),
            cache=self._cache,
        )
        wish = EnvironmentWish(
            locked=locked,
            prefix=PREFIX,
            spec=None,
            platform=AMD64 if runs else ARM64,
            bytecode=bytecode,
            budget=4,
            style=LayerStyle(directory=self._cache.directory("blobs"), compression=Compression.GZIP, parents={}),
            base=base,
        )
        with self._cache.work_directory() as work:
            return obtain(wish, makers, lambda blobs: {blob.digest for blob in blobs}, work, QUIET)

    def base(self, locked: LockedEnv, bytecode: str = "all") -> tuple[BaseEnvironment, list[Layer]]:
        layers = self.readable(self.layers(locked, bytecode=bytecode))
        files = states_in_layers(layers, PREFIX)
        return BaseEnvironment(prefix=PREFIX, locked=locked, bytecode=bytecode, files=files), layers

    def readable(self, made: EnvironmentLayers) -> list[Layer]:
        return [
            Layer(
                descriptor=each.descriptor,
                diff_id=each.diff_id,
                open=lambda digest=each.descriptor.digest: self._cache.open_blob(digest),  # type: ignore[misc]
            )
            for each in made.layers
        ]

    def tree(self, name: str, *layers: Layer) -> Tree:
        root = self._folder / "roots" / name
        unpack_all(layers, root)
        return states(root / PREFIX[1:])


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def contents(made: EnvironmentLayers) -> list[str]:
    return [title for layer in made.layers for title in layer.contents]


@pytest.mark.parametrize("bytecode", ["all", "none"])
def test_what_differs_is_laid_over(workshop: Workshop, bytecode: str) -> None:
    base, below = workshop.base(workshop.lock("one =1", "two =1"), bytecode)
    new = workshop.lock("one =2", "two =1")
    over = workshop.layers(new, base, bytecode)
    assert contents(over) == ["one 2"]
    assert [layer.kind for layer in over.layers] == ["whiteouts", "environment", "environment"]
    whole = workshop.tree("whole", *workshop.readable(workshop.layers(new, bytecode=bytecode)))
    assert workshop.tree("over", *below, *workshop.readable(over)) == whole
    compiled = [path for path in whole if path.endswith(".pyc")]
    assert bool(compiled) == (bytecode == "all")


def test_each_file_is_read_once_to_be_compared(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    base, _ = workshop.base(workshop.lock("one =1", "two =1"))
    read: list[str] = []
    state = base_environment._state
    monkeypatch.setattr(base_environment, "_state", lambda entry: read.append(entry.path) or state(entry))
    assert contents(workshop.layers(workshop.lock("one =2", "two =1"), base)) == ["one 2"]
    assert f"{PREFIX[1:]}/{SITE}/one/__pycache__/__init__.{sys.implementation.cache_tag}.pyc" in read
    assert len(read) == len(set(read))


def test_nothing_is_hidden_where_everything_is_kept(workshop: Workshop) -> None:
    locked = workshop.lock("one =1")
    base, _ = workshop.base(locked)
    over = workshop.layers(locked, base)
    assert [(layer.kind, layer.title) for layer in over.layers] == [("environment", "lock")]


def test_another_python_compiles_all_anew(workshop: Workshop) -> None:
    base, below = workshop.base(workshop.lock("one =1"))
    # As if the older patch had compiled it otherwise.
    code = {path: ("file", 0o644, "0" * 64) for path in base.files if "/one/__pycache__/" in path}
    assert code
    base = replace(base, files={**base.files, **code})
    same_python = workshop.layers(workshop.lock("one =1"), base)
    assert contents(same_python) == [], "byte code of what stays is trusted"
    over = workshop.layers(workshop.lock("one =1", patch=2), base)
    assert contents(over) == ["one 1", f"python {MINOR}.2"]
    whole = workshop.tree("whole", *workshop.readable(workshop.layers(workshop.lock("one =1", patch=2))))
    assert workshop.tree("over", *below, *workshop.readable(over)) == whole


def test_where_its_python_does_not_run_the_bases_byte_code_stays(workshop: Workshop) -> None:
    base, below = workshop.base(workshop.lock("one =1", "two =1"))
    over = workshop.layers(workshop.lock("one =2", "two =1"), base, runs=False)
    assert over.bytecode == "none"
    assert over.notes == ("no byte code: this machine does not run linux/arm64",)
    tree = workshop.tree("over", *below, *workshop.readable(over))
    tag = sys.implementation.cache_tag
    assert f"{SITE}/two/__pycache__/__init__.{tag}.pyc" in tree
    assert f"{SITE}/one/__pycache__/__init__.{tag}.pyc" not in tree, "it is the replaced source's"


def test_layers_over_another_base_are_others(workshop: Workshop) -> None:
    locked = workshop.lock("one =1", "two =1")
    base, _ = workshop.base(locked)
    other, _ = workshop.base(workshop.lock("one =1"))
    assert not workshop.layers(locked, base).reused
    assert workshop.layers(locked, base).reused
    over = workshop.layers(locked, other)
    assert not over.reused
    assert contents(over) == ["two 1"]
