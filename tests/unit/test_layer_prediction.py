"""The layers that a build would add, by the sizes of archives in the lock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.layer_prediction import PredictedLayer, predict_layers
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.locked_packages import CondaPackage, LockedWheel
from mlflow_dbimage.model_reference import parse
from mlflow_dbimage.model_spec import ModelFile, ModelSpec, read
from mlflow_dbimage.oci.descriptor import Platform
from plain_model import write_model

MB = 1_000_000


def conda(name: str, size: int | None) -> CondaPackage:
    return CondaPackage(
        name=name,
        version="1.0",
        build="0",
        build_number=0,
        subdir="noarch",
        file_name=f"{name}-1.0-0.conda",
        sha256="0" * 64,
        size=size,
        channel="conda-forge",
        canonical_url="https://channel.example/x",
        url="https://channel.example/x",
    )


def wheel(name: str, size: int | None) -> LockedWheel:
    return LockedWheel(
        name=name, version="2.0", file_name=f"{name}-2.0-py3-none-any.whl", sha256="0" * 64, size=size
    )


def locked(packages: list[CondaPackage], wheels: list[LockedWheel]) -> LockedEnv:
    return LockedEnv(
        platform=Platform("linux", "amd64"), python="3.11.7", conda=tuple(packages), wheels=tuple(wheels)
    )


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    directory = write_model(tmp_path_factory.mktemp("model") / "churn")
    return read(parse(str(directory)), directory)


def environment(layers: tuple[PredictedLayer, ...]) -> list[tuple[str, int, int]]:
    return [(each.title, each.size, each.packages) for each in layers if each.packages]


def test_large_packages_have_a_layer_each_and_the_rest_share_two(spec: ModelSpec) -> None:
    env = locked(
        [conda("python", 30 * MB), conda("zlib", MB), conda("unknown", None)],
        [wheel("scipy", 32 * MB), wheel("six", 11_000), wheel("tqdm", 78_000)],
    )
    layers = predict_layers(env, spec, 12)
    assert environment(layers) == [
        ("scipy 2.0", 40 * MB, 1),
        ("python 1.0", 30 * MB, 1),
        ("other conda packages", MB, 2),
        ("other packages", 13_750 + 97_500, 2),
    ]
    assert [(each.kind, each.title) for each in layers[-3:-1]] == [
        ("environment", "lock"),
        ("scoring", "scoring code"),
    ]
    assert layers[-1].size == sum(file.size for file in spec.files)


def test_a_heavy_file_of_a_model_has_a_layer_of_its_own(spec: ModelSpec) -> None:
    heavy = ModelFile(path="weights.bin", size=300 * MB, mode=0o644, digest=spec.files[0].digest)
    layers = predict_layers(locked([], []), replace(spec, files=(*spec.files, heavy)), 12)
    assert [(each.title, each.size) for each in layers if each.kind == "model"] == [
        ("model file weights.bin", 300 * MB),
        ("model churn", sum(file.size for file in spec.files)),
    ]


SIZES = st.lists(st.none() | st.integers(0, 90 * MB), max_size=12)


@given(SIZES, SIZES, st.integers(1, 14))
def test_every_package_is_in_one_layer_and_the_budget_is_kept(
    spec: ModelSpec, of_conda: list[int | None], of_pip: list[int | None], budget: int
) -> None:
    env = locked(
        [conda(f"c{number}", size) for number, size in enumerate(of_conda)],
        [wheel(f"w{number}", size) for number, size in enumerate(of_pip)],
    )
    layers = environment(predict_layers(env, spec, budget))
    assert sum(count for _, _, count in layers) == len(of_conda) + len(of_pip)
    assert sum(size for _, size, _ in layers) == sum(
        (*(size or 0 for size in of_conda), *((size or 0) * 5 // 4 for size in of_pip))
    )
    assert len(layers) <= max(budget, 2)


def test_the_json_form_says_that_it_is_a_prediction(spec: ModelSpec) -> None:
    first = predict_layers(locked([conda("python", 30 * MB)], []), spec, 12)[0]
    assert first.to_dict() == {"kind": "environment", "title": "python 1.0", "size": 30 * MB, "packages": 1}


def test_it_groups_as_layers_are_written(spec: ModelSpec, tmp_path: Path) -> None:
    """The same packages have layers of their own where archives are a third of the files."""
    from mlflow_dbimage.model_layers import group
    from mlflow_dbimage.oci.tar import file_entry
    from mlflow_dbimage.packed_env import PackedDistribution, PackedEnv

    sizes = {"a": 60 * MB, "b": 30 * MB, "c": 3 * MB, "d": 2 * MB}
    packed = []
    for name, size in sizes.items():
        file = tmp_path / name
        with file.open("wb") as stream:
            stream.truncate(size)
        entry = file_entry(f"opt/{name}", file, 0o644)
        packed.append(PackedDistribution(name=name, version="2.0", manager="pip", entries=(entry,)))
    written = [each.title for each in group(PackedEnv(prefix="/opt", distributions=tuple(packed)), 12)]
    env = locked([], [wheel(name, size // 3) for name, size in sizes.items()])
    assert [title for title, _, _ in environment(predict_layers(env, spec, 12))] == written
