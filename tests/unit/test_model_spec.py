"""Models as MLflow 1.13 to 3.17 write them, by hand and by the MLflow that is installed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.model_reference import parse
from mlflow_dbimage.model_spec import ModelSpec, check_pickle, read
from plain_model import CONDA, MODERN, OLD, write_model

OLD_CONDA = """\
channels: [defaults, conda-forge]
dependencies:
- python=3.7.10
- pip
- pip:
  - mlflow
  - scikit-learn==0.22.1
  - cloudpickle==1.4.1
"""


def read_model(directory: Path, uri: str = "models:/churn/3") -> ModelSpec:
    return read(parse(uri), directory)


def test_a_model_of_mlflow_3_is_read(tmp_path: Path) -> None:
    mlmodel = MODERN + (
        "databricks_runtime: 15.4\n"
        'signature:\n  inputs: \'[{"type": "double", "name": "x"}]\'\n  outputs: null\n  params: null\n'
        "saved_input_example_info:\n  artifact_path: input_example.json\n"
        "  serving_input_path: serving_input_example.json\n  type: dataframe\n"
    )
    spec = read_model(write_model(tmp_path / "m", mlmodel, input_example_DOT_json="{}"))
    assert (spec.name, spec.version) == ("churn", "3")
    assert spec.python == "3.11.7"
    assert spec.flavors == ("python_function",)
    assert spec.loader_module == "mlflow.pyfunc.model"
    assert spec.mlflow_version == "3.17.2"
    assert spec.databricks_runtime == "15.4"
    assert spec.logged_at == datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
    assert spec.signature == {"inputs": '[{"type": "double", "name": "x"}]', "outputs": None, "params": None}
    assert spec.example == "input_example.json"
    assert spec.serving_example is None  # MLmodel names it, and it is not there
    assert spec.pickle.files == ("python_model.pkl",)
    assert (spec.pickle.python, spec.pickle.cloudpickle) == ("3.11.7", "3.1.2")
    assert [file.path for file in spec.files] == [
        "MLmodel",
        "conda.yaml",
        "input_example.json",
        "python_model.pkl",
    ]
    assert spec.notes == ()


def test_a_model_of_mlflow_1_13_is_read(tmp_path: Path) -> None:
    directory = write_model(
        tmp_path / "m", OLD, conda_DOT_yaml=OLD_CONDA, model_DOT_pkl=b"old", python_model_DOT_pkl=None
    )
    spec = read_model(directory)
    assert spec.python == "3.7.10"
    assert spec.environment.channels == ("defaults", "conda-forge")
    assert [line.text for line in spec.environment.pip] == ["mlflow", "scikit-learn==0.22.1", "cloudpickle==1.4.1"]
    assert spec.flavors == ("python_function", "sklearn")
    assert spec.loader_module == "mlflow.sklearn"
    assert (spec.mlflow_version, spec.databricks_runtime, spec.signature, spec.example) == (None,) * 4
    assert spec.logged_at == datetime(2021, 1, 20, 9, 30, 0, 123456, tzinfo=timezone.utc)
    assert spec.pickle.files == ("model.pkl",)
    assert (spec.pickle.python, spec.pickle.cloudpickle) == ("3.7.10", None)


@pytest.mark.parametrize(
    ("uri", "name", "version"),
    [
        ("models:/cat.sch.churn/3", "cat.sch.churn", "3"),
        ("models:/m-0123", "m-0123", None),
        ("runs:/0a1b/deep/tree", "tree", None),
        ("/home/ann/models/price", "price", None),
        ("s3://bucket/models/price", "price", None),
    ],
)
def test_a_model_is_named_for_what_it_was_asked_by(
    tmp_path: Path, uri: str, name: str, version: str | None
) -> None:
    spec = read_model(write_model(tmp_path / "m"), uri)
    assert (spec.name, spec.version) == (name, version)


def test_the_digest_does_not_depend_on_how_it_was_asked_for(tmp_path: Path) -> None:
    one = write_model(tmp_path / "one")
    two = write_model(tmp_path / "two")
    (two / "registered_model_meta").write_text("model_version: '3'\n")
    assert read_model(one).digest == read_model(two, "runs:/0a1b/model").digest


def test_models_that_mlflow_writes_are_read(tmp_path: Path) -> None:
    program = f"""
import warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.pyfunc.save_model(
    {str(tmp_path / "plain")!r}, python_model=lambda model_input: model_input, input_example=["a"],
    pip_requirements=["mlflow", "-c constraints.txt", "numpy"], code_paths=[__file__],
)
"""
    script = tmp_path / "make.py"
    script.write_text(program)
    (tmp_path / "constraints.txt").write_text("numpy<3\n")
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True, cwd=tmp_path)
    spec = read_model(tmp_path / "plain")
    assert spec.python == ".".join(map(str, sys.version_info[:3]))
    assert spec.loader_module == "mlflow.pyfunc.model"
    assert spec.pickle.files == ("python_model.pkl",)
    assert spec.signature is not None
    assert (spec.example, spec.serving_example) == ("input_example.json", "serving_input_example.json")
    assert {"code/make.py", "conda.yaml", "constraints.txt"} <= {file.path for file in spec.files}
    assert "-c constraints.txt" in [line.text for line in spec.environment.pip]
    assert spec.logged_at is not None
    assert abs(datetime.now(timezone.utc) - spec.logged_at).total_seconds() < 3600


@pytest.mark.parametrize(
    ("mlmodel", "why"),
    [
        ("flavors: {}\n", "names no flavors"),
        ("- a list\n", "names no flavors"),
        ("flavors: {sklearn: {}}\n", "only `sklearn`"),
        ("flavors: [unclosed\n", "cannot be read"),
        ("flavors: !!python/object:os.x {}\n", "asks for an object"),
        (MODERN.replace("2026-06-01", "yesterday"), "no time as `utc_time_created`"),
    ],
)
def test_an_mlmodel_that_cannot_be_understood_is_told(tmp_path: Path, mlmodel: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        read_model(write_model(tmp_path / "m", mlmodel))
    assert caught.value.code == "model-invalid"


def test_a_directory_without_a_model_tells_where_one_is(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    with pytest.raises(InputError, match="`MLmodel` is missing") as caught:
        read_model(tmp_path)
    assert caught.value.code == "model-invalid"
    assert caught.value.hint == "there are models below it: `model`"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("python_model.pkl", "../outside.pkl", "python_function.python_model"),
        ("code: null", "code: /etc", "python_function.code"),
        ("code: null", "artifacts: {notes: {path: ../x, uri: x}}", "python_function.artifacts.notes"),
        ("flavors:", "flavors:\n  sklearn: {pickled_model: ../x}", "sklearn.pickled_model"),
    ],
)
def test_an_mlmodel_that_leaves_its_directory_is_refused(tmp_path: Path, old: str, new: str, place: str) -> None:
    with pytest.raises(InputError, match="outside the model") as caught:
        read_model(write_model(tmp_path / "m", MODERN.replace(old, new)))
    assert caught.value.code == "model-unsafe"
    assert f"`{place}`" in caught.value.message


def test_the_author_s_own_path_of_models_from_code_is_no_danger(tmp_path: Path) -> None:
    mlmodel = MODERN.replace("python_model: python_model.pkl", "model_code_path: /home/ann/model.py")
    assert read_model(write_model(tmp_path / "m", mlmodel)).pickle.cloudpickle is None


def test_what_people_should_know_is_noted(tmp_path: Path) -> None:
    conda = CONDA.replace("mlflow==3.17.2", "--index-url https://ann:hunter2@h.io/simple")
    mlmodel = MODERN.partition("utc_time_created")[0]
    spec = read_model(write_model(tmp_path / "m", mlmodel, conda_DOT_yaml=conda))
    assert spec.logged_at is None
    assert spec.notes == (
        "the model does not say when it was logged: what it leaves unpinned is resolved as of today",
        "conda.yaml: dependencies[2].pip[0] holds the password of a URL,"
        " and the model goes into the image as it is",
    )


@dataclass(frozen=True)
class Package:
    name: str
    version: str


@dataclass(frozen=True)
class Locked:
    python: str
    conda: tuple[Package, ...] = ()
    wheels: tuple[Package, ...] = (Package("cloudpickle", "3.1.2"),)


def test_an_environment_that_made_the_pickle_is_accepted(tmp_path: Path) -> None:
    spec = read_model(write_model(tmp_path / "m"))
    assert check_pickle(spec, Locked("3.11.9")) == ()
    assert check_pickle(spec, Locked("3.11.9", wheels=(Package("cloudpickle", "3.0.0"),))) == (
        "cloudpickle 3.1.2 made the model, and its environment has 3.0.0",
    )
    assert check_pickle(spec, Locked("3.11.7", conda=(Package("cloudpickle", "3.1.2"),), wheels=())) == ()


@pytest.mark.parametrize(
    ("locked", "why"),
    [
        (Locked("3.12.1"), "Python 3.11.7 made the model, and its environment has Python 3.12.1"),
        (Locked("3.11.7", wheels=()), "cloudpickle 3.1.2 made the model, and its environment has none"),
        (
            Locked("3.11.7", wheels=(Package("cloudpickle", "2.2.1"),)),
            "cloudpickle 3.1.2 made the model, and its environment has 2.2.1",
        ),
    ],
)
def test_an_environment_that_cannot_load_the_pickle_is_refused(tmp_path: Path, locked: Locked, why: str) -> None:
    spec = read_model(write_model(tmp_path / "m"))
    with pytest.raises(InputError) as caught:
        check_pickle(spec, locked)
    assert caught.value.code == "model-pickle-mismatch"
    assert why in caught.value.message
    assert "`python_model.pkl`" in caught.value.message


def test_a_model_without_a_pickle_goes_with_another_python(tmp_path: Path) -> None:
    mlmodel = MODERN.replace("python_model: python_model.pkl", "model_code_path: model.py")
    spec = read_model(write_model(tmp_path / "m", mlmodel, python_model_DOT_pkl=None))
    assert check_pickle(spec, Locked("3.12.1", wheels=())) == (
        "Python 3.11.7 made the model, and its environment has Python 3.12.1",
    )
