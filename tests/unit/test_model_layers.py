"""Sharing distributions out to layers: large ones alone, the rest in two, never more than the budget."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.model_layers import (
    LayerStyle,
    budget_of,
    group,
    scoring_entries,
    write_environment,
    write_launcher,
    write_scoring,
)
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, file_entry
from mlflow_dbimage.packed_env import IMAGE_PREFIX, PackedDistribution, PackedEnv

MB = 1 << 20


def distribution(name: str, size: int, manager: str = "pip") -> PackedDistribution:
    entry = TarEntry(path=f"opt/dbimage/env/{name}", kind=EntryKind.FILE, mode=0o644, size=size)
    return PackedDistribution(name=name, version="1", manager=manager, entries=(entry,))


def env_of(*distributions: PackedDistribution) -> PackedEnv:
    return PackedEnv(prefix=IMAGE_PREFIX, distributions=tuple(sorted(distributions, key=lambda each: each.name)))


def test_large_distributions_come_first_and_alone() -> None:
    env = env_of(
        distribution("small", 1),
        distribution("pyarrow", 90 * MB),
        distribution("python", 60 * MB, "conda"),
        distribution("libz", 5, "conda"),
    )
    titles = [each.title for each in group(env, 12)]
    assert titles == ["pyarrow 1", "python 1", "other conda packages", "other packages"]


def test_beyond_the_budget_large_ones_share_too() -> None:
    env = env_of(*(distribution(f"d{number}", (50 - number) * MB) for number in range(9)))
    groups = group(env, 4)
    assert len(groups) == 3
    assert [each.name for each in groups[0].distributions] == ["d0"]
    assert len(groups[-1].distributions) == 7


@given(
    sizes=st.lists(st.integers(0, 100 * MB), min_size=1, max_size=40),
    managers=st.lists(st.sampled_from(["conda", "pip", "none"]), min_size=40, max_size=40),
    budget=st.integers(1, 20),
)
def test_every_distribution_is_in_one_layer_within_the_budget(
    sizes: list[int], managers: list[str], budget: int
) -> None:
    env = env_of(*(distribution(f"d{index:02}", size, managers[index]) for index, size in enumerate(sizes)))
    groups = group(env, budget)
    assert len(groups) <= max(budget, 2)
    names = sorted(each.name for one in groups for each in one.distributions)
    assert names == sorted(each.name for each in env.distributions)
    assert group(env, budget) == groups
    assert group(env, budget_of(each.title for each in groups)) == groups, "titles tell a budget that gives them"


def test_layers_are_the_same_wherever_they_are_written(tmp_path: Path) -> None:
    def written(folder: str) -> list[str]:
        source = tmp_path / folder
        source.mkdir()
        (source / "a").write_bytes(b"x" * 1000)
        entries = (file_entry("opt/dbimage/env/a", source / "a", 0o644),)
        env = env_of(PackedDistribution(name="a", version="1", manager="pip", entries=entries))
        style = LayerStyle(directory=source, compression=Compression.GZIP, parents={"opt": (0o750, 3, 4)})
        layers = write_environment(group(env, 12), {"pylock.toml": b"lock"}, style)
        return [str(layer.descriptor.digest) for layer in layers]

    assert written("one") == written("another")


def test_another_lock_is_another_layer_and_no_other(tmp_path: Path) -> None:
    style = LayerStyle(directory=tmp_path, compression=Compression.GZIP, parents={})
    entries = (file_entry("opt/dbimage/env/six.py", b"", 0o644),)
    groups = group(env_of(PackedDistribution(name="six", version="1", manager="pip", entries=entries)), 12)
    one, other = (write_environment(groups, {"pylock.toml": lock}, style) for lock in (b"one", b"other"))
    assert [each.title for each in one] == ["other packages", "lock"]
    assert one[0] == other[0]
    assert one[1].diff_id != other[1].diff_id


def test_the_scoring_layer_has_all_that_the_launcher_starts(tmp_path: Path) -> None:
    entries = {entry.path: entry for entry in scoring_entries()}
    assert entries["opt/dbimage/bin/score"].mode == 0o755
    assert {
        "opt/dbimage/lib/plugin_entrypoints/batch.py",
        "opt/dbimage/lib/plugin_entrypoints/__init__.py",
        "opt/dbimage/lib/mlflow_dbimage/__init__.py",
        "opt/dbimage/lib/mlflow_dbimage/scoring/job.py",
    } <= entries.keys()
    style = LayerStyle(directory=tmp_path, compression=Compression.GZIP, parents={})
    assert write_scoring(style, IMAGE_PREFIX).kind == "scoring"


def test_the_launcher_has_a_layer_of_its_own_where_it_has_a_place(tmp_path: Path) -> None:
    style = LayerStyle(directory=tmp_path, compression=Compression.GZIP, parents={})
    (layer,) = write_launcher("databricks/python3/lib/python3.11/site-packages", style)
    assert (layer.kind, layer.contents) == (
        "launcher",
        ("the launcher in /databricks/python3/lib/python3.11/site-packages",),
    )
    assert write_launcher(None, style) == ()
