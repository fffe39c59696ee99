from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.requirement_imports import (
    installed_distributions,
    normal,
    outermost,
    requirements,
)


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        (["sklearn/__init__.py", "sklearn/tree/__init__.py", "sklearn/base.py"], ["sklearn"]),
        (["google/cloud/storage/__init__.py", "google/cloud/storage/blob.py"], ["google.cloud.storage"]),
        (["six.py", "six-1.0.dist-info/RECORD"], ["six"]),
        (["_cffi_backend.cpython-311-x86_64-linux-gnu.so"], ["_cffi_backend"]),
        (["a.abi3.so", "b.so", "b.pyi"], ["a", "b"]),
        (["nvidia/lib/libcudart.so.12"], []),
        (["../../../bin/tool", "x/data.json"], []),
    ],
)
def test_what_a_distribution_is_imported_by(files: list[str], modules: list[str]) -> None:
    assert outermost(files) == modules


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=12))
def test_no_package_is_named_inside_another(folders: list[list[str]]) -> None:
    found = outermost(["/".join([*folder, "__init__.py"]) for folder in folders])
    for folder in folders:
        assert sum(".".join([*folder, ""]).startswith(f"{each}.") for each in found) == 1


def named(directory: Path) -> list[tuple[str, bool, bool]]:
    return [(each.name, each.of_conda, each.conditional) for each in requirements(directory)]


def test_requirements_of_conda_and_pip(tmp_path: Path) -> None:
    (tmp_path / "conda.yaml").write_text(
        "dependencies:\n- python=3.11\n- conda-forge::libgomp >=12\n- pip\n- pip:\n  - mlflow==3.1\n"
        "  - scikit_learn[extra]<2 # why\n  - -r more.txt\n  - ./wheels/local_thing-1.0-py3-none-any.whl\n"
        "  - tool @ https://example.com/tool.whl\n  - --index-url https://example.com\n"
        "  - odd; python_version < '3'\n"
    )
    (tmp_path / "more.txt").write_text("-r more.txt\n# nothing\nnumpy \\\n  >=1\n")
    assert named(tmp_path) == [
        ("libgomp", True, False),
        ("mlflow", False, False),
        ("scikit_learn", False, False),
        ("numpy", False, False),
        ("local_thing", False, False),
        ("tool", False, False),
        ("odd", False, True),
    ]


@pytest.mark.parametrize("conda", [None, "dependencies: [", "dependencies: 3"])
def test_requirements_txt_where_conda_yaml_is_none(conda: str | None, tmp_path: Path) -> None:
    if conda is not None:
        (tmp_path / "conda.yaml").write_text(conda)
    (tmp_path / "requirements.txt").write_text("mlflow\npandas==2.0\n")
    assert [each.name for each in requirements(tmp_path)] == ["mlflow", "pandas"]


def test_a_model_without_files_has_no_requirements(tmp_path: Path) -> None:
    assert requirements(tmp_path) == []


def test_distributions_of_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, file in (("New_Thing-1.0.dist-info", "METADATA"), ("old.thing-0.9.egg-info", "PKG-INFO")):
        (tmp_path / folder).mkdir()
        name = folder.split("-")[0]
        (tmp_path / folder / file).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\nText\n")
    (tmp_path / "New_Thing-1.0.dist-info" / "RECORD").write_text('new/__init__.py,,\n"tests/__init__.py",,\n')
    (tmp_path / "old.thing-0.9.egg-info" / "top_level.txt").write_text("_old\nold\n")
    (tmp_path / "single-2.0.egg-info").write_text("Metadata-Version: 1.1\nName: single\nVersion: 2.0\n")
    (tmp_path / "broken-1.0.dist-info").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path), "/nowhere"])
    found = installed_distributions()
    assert {name: (each.version, each.modules) for name, each in found.items()} == {
        "new-thing": ("1.0", ("new",)),
        "old-thing": ("1.0", ("old",)),
        "single": ("2.0", ()),
    }
    assert normal("New__Thing") == "new-thing"
