"""What is laid over a base's environment gives, with the base's tree, exactly the environment."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.base_environment import BaseEnvironment, FileState, states_of
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.tar import TarEntry, file_entry, sorted_with_parents, symlink_entry, whiteouts
from mlflow_dbimage.overlay import Overlay, difference
from mlflow_dbimage.packed_env import PackedDistribution, PackedEnv

ROOT = "opt/env"
Tree = Mapping[str, FileState]

NAMES = st.sampled_from(["a", "b", "c.py", "__pycache__", "d"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/".join((ROOT, *parts)))
CONTENTS = st.sampled_from([b"1", b"2"])


def entry(path: str, content: bytes, mode: int = 0o644) -> TarEntry:
    return symlink_entry(path, "target") if content == b"2" and mode == 0o755 else file_entry(path, content, mode)


@st.composite
def entries(draw: st.DrawFn) -> list[TarEntry]:
    """Files and links, none of which lies below another."""
    found: dict[str, TarEntry] = {}
    for path in sorted(draw(st.sets(PATHS, max_size=12))):
        if not any(path.startswith(f"{other}/") for other in found):
            found[path] = entry(path, draw(CONTENTS), draw(st.sampled_from([0o644, 0o755])))
    return list(found.values())


@st.composite
def environments(draw: st.DrawFn) -> PackedEnv:
    shares: dict[int, list[TarEntry]] = {}
    for each in draw(entries()):
        shares.setdefault(draw(st.integers(0, 3)), []).append(each)
    return packed(*(tuple(share) for share in shares.values()))


def packed(*distributions: Iterable[TarEntry]) -> PackedEnv:
    return PackedEnv(
        prefix=f"/{ROOT}",
        distributions=tuple(
            PackedDistribution(name=f"d{number}", version="1", manager="pip", entries=tuple(each))
            for number, each in enumerate(distributions)
        ),
    )


def all_of(env: PackedEnv) -> list[TarEntry]:
    return [each for distribution in env.distributions for each in distribution.entries]


def base_of(listed: Iterable[TarEntry]) -> BaseEnvironment:
    lock = LockedEnv(platform=Platform("linux", "amd64"), python="3.11.7", conda=())
    return BaseEnvironment(prefix=f"/{ROOT}", locked=lock, bytecode="all", files=states_of(listed))


def laid_over(tree: Tree, overlay: Overlay) -> dict[str, FileState]:
    """Apply whiteouts and layers to a tree as an engine does, as naively as can be."""
    seen = dict(tree)
    for hidden in overlay.whiteouts:
        assert any(path == hidden or path.startswith(f"{hidden}/") for path in seen), f"{hidden} hides nothing"
        seen = {path: state for path, state in seen.items() if not f"{path}/".startswith(f"{hidden}/")}
    for distribution in overlay.added:
        for path, state in states_of(distribution.entries).items():
            above = [path[:end] for end in range(len(path)) if path[end] == "/"]
            assert not any(folder in seen for folder in above), f"{path} lies below a file"
            assert not any(other.startswith(f"{path}/") for other in seen), f"{path} is a folder of the base"
            seen[path] = state
    return seen


@settings(max_examples=400, deadline=None)
@given(environments(), entries())
def test_base_and_overlay_are_the_environment(env: PackedEnv, lower: list[TarEntry]) -> None:
    base = base_of(lower)
    overlay = difference(env, states_of(all_of(env)), base)
    assert laid_over(base.files, overlay) == states_of(all_of(env))
    assert sorted((*overlay.kept, *overlay.added), key=lambda each: each.name) == list(env.distributions)


@settings(max_examples=100, deadline=None)
@given(environments())
def test_nothing_is_laid_over_the_same_environment(env: PackedEnv) -> None:
    overlay = difference(env, states_of(all_of(env)), base_of(all_of(env)))
    assert (overlay.added, overlay.whiteouts) == ((), ())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(environments(), entries())
def test_the_layers_unpack_to_the_environment(
    tmp_path_factory: pytest.TempPathFactory, env: PackedEnv, lower: list[TarEntry]
) -> None:
    folder = tmp_path_factory.mktemp("layers")
    overlay = difference(env, states_of(all_of(env)), base_of(lower))
    layers = [sorted_with_parents(lower, {}), whiteouts(overlay.whiteouts, {})]
    layers += [sorted_with_parents(each.entries, {}) for each in overlay.added]
    root = folder / "root"
    root.mkdir()
    for layer in layers:
        unpack_layer(as_layer(write_layer(layer, folder, Compression.GZIP)), root)
    assert on_disk(root) == states_of(all_of(env))


def on_disk(root: Path) -> Tree:
    """Return the states of what was unpacked."""
    found = []
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found.append(symlink_entry(name, str(path.readlink())))
        elif path.is_file():
            found.append(file_entry(name, path, stat.S_IMODE(path.stat().st_mode)))
    return states_of(found)


def test_a_folder_that_goes_whole_is_hidden_as_one() -> None:
    lower = [file_entry(f"{ROOT}/lib/old-1.dist-info/{name}", b"", 0o644) for name in ("METADATA", "RECORD")]
    lower += [file_entry(f"{ROOT}/lib/old/{name}", b"", 0o644) for name in ("__init__.py", "sub/a.py", "sub/b.py")]
    env = packed([file_entry(f"{ROOT}/lib/old/sub/a.py", b"new", 0o644)])
    overlay = difference(env, states_of(all_of(env)), base_of(lower))
    assert overlay.whiteouts == (
        f"{ROOT}/lib/old-1.dist-info",
        f"{ROOT}/lib/old/__init__.py",
        f"{ROOT}/lib/old/sub/b.py",
    )


def test_a_distribution_with_one_file_changed_is_laid_whole() -> None:
    lower = [file_entry(f"{ROOT}/{name}", b"old", 0o644) for name in ("one", "two", "three")]
    env = packed([lower[0], file_entry(f"{ROOT}/two", b"old", 0o755)], [lower[2]])
    overlay = difference(env, states_of(all_of(env)), base_of(lower))
    assert [each.name for each in overlay.added] == ["d0"]
    assert [each.name for each in overlay.kept] == ["d1"]
    assert overlay.whiteouts == ()


def test_byte_code_that_cannot_be_made_here_stays_for_sources_that_stay() -> None:
    def compiled(name: str) -> TarEntry:
        return file_entry(f"{ROOT}/__pycache__/{name}.cpython-311.pyc", b"code", 0o644)

    sources = [file_entry(f"{ROOT}/{name}.py", b"1", 0o644) for name in ("same", "changed", "gone")]
    base = base_of([*sources, compiled("same"), compiled("changed"), compiled("gone")])
    env = packed([sources[0]], [file_entry(f"{ROOT}/changed.py", b"2", 0o644)])
    states = states_of(all_of(env))
    overlay = difference(env, states, base, compiled=False)
    assert overlay.whiteouts == (
        f"{ROOT}/__pycache__/changed.cpython-311.pyc",
        f"{ROOT}/__pycache__/gone.cpython-311.pyc",
        f"{ROOT}/gone.py",
    )
    assert f"{ROOT}/__pycache__" in difference(env, states, base).whiteouts
