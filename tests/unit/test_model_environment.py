"""Environments of models: conda.yaml first, then python_env.yaml, then requirements.txt; all problems at once."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.model_environment import read_environment

BOTH = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
LOGGED = datetime(2026, 6, 1, tzinfo=timezone.utc)


def model(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / name.replace("_DOT_", ".")).write_text(text)
    return tmp_path


def conda(tmp_path: Path, *dependencies: str, recorded: str | None = "3.11.7") -> EnvironmentSpec:
    text = "".join(f"- {line}\n" for line in dependencies)
    return read_environment(model(tmp_path, conda_DOT_yaml=f"dependencies:\n{text}"), BOTH, recorded, LOGGED)


def test_conda_yaml_is_read_whole(tmp_path: Path) -> None:
    text = """\
name: mlflow-env
channels: [company, conda-forge]
prefix: /home/ann/env
dependencies:
- python=3.11.7
- pip<=26.3  # as MLflow writes it
- libgcc-ng>=9
- conda-forge::lightgbm=3.1
- pip:
  - '# Original requirements'
  - mlflow==3.17.2
  - -c constraints.txt
  - |
    numpy==1.0
    pandas==2.0
"""
    found = read_environment(
        model(tmp_path, conda_DOT_yaml=text, constraints_DOT_txt="", requirements_DOT_txt="other==1"),
        BOTH,
        "3.11.2",
        LOGGED,
    )
    assert found.python == "3.11.7"
    assert found.python_minor == "3.11"
    assert found.channels == ("company", "conda-forge")
    assert [(line.text, line.origin) for line in found.conda] == [
        ("pip<=26.3", "conda.yaml: dependencies[1]"),
        ("libgcc-ng>=9", "conda.yaml: dependencies[2]"),
        ("conda-forge::lightgbm=3.1", "conda.yaml: dependencies[3]"),
    ]
    assert [(line.text, line.origin) for line in found.pip] == [
        ("mlflow==3.17.2", "conda.yaml: dependencies[4].pip[1]"),
        ("-c constraints.txt", "conda.yaml: dependencies[4].pip[2]"),
        ("numpy==1.0", "conda.yaml: dependencies[4].pip[3]"),
        ("pandas==2.0", "conda.yaml: dependencies[4].pip[3]"),
    ]
    assert (found.directory, found.logged_at) == (tmp_path, LOGGED)


def test_without_conda_yaml_python_env_and_its_requirements_are_read(tmp_path: Path) -> None:
    found = read_environment(
        model(
            tmp_path,
            python_env_DOT_yaml=(
                "python: 3.10\nbuild_dependencies:\n- pip==23.0\n- setuptools==65.5.0\n"
                "dependencies:\n- -r requirements.txt\n- extra==1\n"
            ),
            requirements_DOT_txt="mlflow==2.9.2\n# a comment\nnumpy==1.0\n",
        ),
        BOTH,
        None,
        None,
    )
    assert found.python == "3.10"
    assert (found.channels, found.conda) == ((), ())
    assert [(line.text, line.origin) for line in found.pip] == [
        ("pip==23.0", "python_env.yaml: build_dependencies[0]"),
        ("setuptools==65.5.0", "python_env.yaml: build_dependencies[1]"),
        ("mlflow==2.9.2", "requirements.txt: line 1"),
        ("numpy==1.0", "requirements.txt: line 3"),
        ("extra==1", "python_env.yaml: dependencies[1]"),
    ]


def test_requirements_alone_take_the_python_that_logged_the_model(tmp_path: Path) -> None:
    directory = model(tmp_path, requirements_DOT_txt="numpy==1.0\n")
    assert read_environment(directory, None, "3.9.5", None).python == "3.9.5"
    with pytest.raises(InputError, match="names no Python") as caught:
        read_environment(directory, None, None, None)
    assert caught.value.code == "model-environment-invalid"


def test_the_name_of_mlflow_1_is_read(tmp_path: Path) -> None:
    directory = model(tmp_path, environment_DOT_yaml="dependencies: [python=3.7.10]\n")
    assert read_environment(directory, "environment.yaml", "3.7.10", None).python == "3.7.10"


def test_no_file_at_all_is_told(tmp_path: Path) -> None:
    for named in (BOTH, "conda.yaml", None, 7):
        with pytest.raises(InputError, match="neither `conda") as caught:
            read_environment(tmp_path, named, "3.11.7", None)
        assert caught.value.code == "model-environment-missing"


@pytest.mark.parametrize("named", ["../conda.yaml", {"conda": "/etc/conda.yaml"}, {"virtualenv": "../env.yaml"}])
def test_a_file_outside_the_model_is_not_read(tmp_path: Path, named: object) -> None:
    (tmp_path / "conda.yaml").write_text("dependencies: [python=3.11]\n")
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match="outside the model") as caught:
        read_environment(tmp_path / "m", named, "3.11.7", None)
    assert caught.value.code == "model-unsafe"


@pytest.mark.parametrize(
    ("line", "recorded", "python"),
    [
        ("python=3.11.7", "3.11.2", "3.11.7"),
        ("python==3.11.7", None, "3.11.7"),
        ("python=3.11", "3.11.2", "3.11"),
        ("python=3.11.*", None, "3.11"),
        ("python 3.11.*", None, "3.11"),
        ("python=3.11.7=h1234_0_cpython", None, "3.11.7"),
        ("conda-forge::python=3.11.7", None, "3.11.7"),
        ("python = 3.11.7", None, "3.11.7"),
        ("python", "3.11.2", "3.11.2"),
        ("python>=3.8,<3.12", "3.11.2", "3.11.2"),
        ("python ~=3.8", "3.11.2", "3.11.2"),
        ("python=3", "3.11.2", "3.11.2"),
        ("python-dateutil=2.8", "3.11.2", "3.11.2"),
    ],
)
def test_a_python_is_chosen(tmp_path: Path, line: str, recorded: str | None, python: str) -> None:
    assert conda(tmp_path, line, recorded=recorded).python == python


@pytest.mark.parametrize(
    ("line", "recorded", "why"),
    [
        ("python>=3.8", None, "asks for `python>=3.8` without saying which"),
        ("python>=3.12", "3.11.2", "but Python 3.11.2 logged the model"),
        ("python=2", "3.11.2", "but Python 3.11.2 logged the model"),
        ("python=three", "3.11.2", "is no version of Python"),
        ("numpy", None, "names no Python"),
    ],
)
def test_a_python_that_cannot_be_known_is_told(tmp_path: Path, line: str, recorded: str | None, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        conda(tmp_path, line, recorded=recorded)
    assert caught.value.code == "model-environment-invalid"


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = "channels: conda-forge\ndependencies:\n- python>=4\n- [x]\n- npm: [left-pad]\n- pip: [[1], '', numpy]\n"
    with pytest.raises(InputError) as caught:
        read_environment(model(tmp_path, conda_DOT_yaml=text), BOTH, "3.11.7", None)
    assert caught.value.message.splitlines() == [
        "the model's environment file `conda.yaml` cannot be understood:",
        "  `channels` is not a list",
        "  `dependencies[1]` is neither a text nor a list under `pip`",
        "  `dependencies[2]` is neither a text nor a list under `pip`",
        "  `pip[0]` is not a text",
        "  `pip[1]` is not a text",
        "  it asks for `python>=4`, but Python 3.11.7 logged the model",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a list\n", "no table of fields"),
        ("name: x\n", "no `dependencies`"),
        ("dependencies: !!python/object/apply:os.system [x]\n", "asks for an object"),
        ("dependencies:\n- python=3.11\n  - pip: [x\n", "line"),
    ],
)
def test_a_broken_conda_yaml_is_told(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        read_environment(model(tmp_path, conda_DOT_yaml=text), BOTH, "3.11.7", None)
    assert caught.value.code == "model-environment-invalid"
    assert "`conda.yaml`" in caught.value.message


def test_a_broken_requirements_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"numpy\xff")
    with pytest.raises(InputError, match=r"`requirements\.txt` cannot be understood") as caught:
        read_environment(tmp_path, BOTH, "3.11.7", None)
    assert caught.value.code == "model-environment-invalid"


def test_a_pip_line_that_leaves_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"conda.yaml: dependencies\[1\].pip\[0\]") as caught:
        conda(tmp_path, "python=3.11", "pip: [../x.whl]")
    assert caught.value.code == "model-unsafe"


versions = st.builds("3.{}.{}".format, st.integers(0, 20), st.integers(0, 30))


@given(versions, st.sampled_from(["python={}", "python=={}", "python {}", "x::python={}=0", "python={}.*"]))
def test_every_exact_python_is_kept(tmp_path_factory: pytest.TempPathFactory, version: str, form: str) -> None:
    directory = tmp_path_factory.mktemp("model")
    assert conda(directory, form.format(version)).python == version


@pytest.mark.parametrize("name", ["conda.yaml" + "9" * 300, "a\0b"], ids=["long", "null"])
def test_a_name_that_no_file_can_have_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be looked at") as caught:
        read_environment(model(tmp_path), name, "3.11.7", None)
    assert caught.value.code == "model-environment-invalid"
