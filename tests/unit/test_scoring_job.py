"""Whole jobs, in this process."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path

import pandas
import pytest

from mlflow_dbimage.scoring.failures import (
    BadInput,
    BadModel,
    BadOutput,
    BadRequest,
    PredictFailed,
    ScoringFailure,
)
from mlflow_dbimage.scoring.job import Outcome, ScoreJob, run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints, and of the models' lack of them
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    class Ages(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: pandas.DataFrame, params=None):
            if (model_input["age"] > 200).any():
                raise ValueError("nobody is so old")
            return pandas.DataFrame({"next": model_input["age"] + 1, "name": model_input["name"]})

    class PlusOne(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: pandas.DataFrame, params=None):
            return model_input["next"].to_numpy() + 1


# MLflow on its own models: type hints, deprecations of its dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "ages"
    signature = ModelSignature(
        inputs=Schema([ColSpec("long", "age"), ColSpec("string", "name")]),
        outputs=Schema([ColSpec("long", "next"), ColSpec("string", "name")]),
    )
    mlflow.pyfunc.save_model(
        path,
        python_model=Ages(),
        signature=signature,
        input_example=pandas.DataFrame({"age": [41], "name": ["x"]}),
        pip_requirements=["mlflow"],
    )
    return path


@pytest.fixture
def go(model: Path, tmp_path: Path):
    def job(text: str, output: str = "out.csv", **more) -> Outcome:
        (tmp_path / "in.csv").write_text(text)
        more.setdefault("input", str(tmp_path / "in.csv"))
        more.setdefault("model", str(model))
        return run(ScoreJob(output=str(tmp_path / output), **more), io.BytesIO(), [].append)

    return job


def files(tmp_path: Path) -> list[str]:
    return sorted(name for name in os.listdir(tmp_path) if name != "in.csv")


def test_rows_keep_their_order_and_what_is_kept_comes_first(go, tmp_path: Path):
    outcome = go("id,age,name\n007,1,a\n008,2,\n009,3,c\n", chunk_rows=2, keep=("id", "age"))
    assert (tmp_path / "out.csv").read_text() == "id,age,next,name\n007,1,2,a\n008,2,3,\n009,3,4,c\n"
    assert (outcome.read, outcome.scored, outcome.rejected) == (3, 3, 0)
    assert str(outcome).startswith("read 3 rows, scored 3, rejected 0, in ")


def test_bad_rows_end_the_job_with_row_and_column(go, tmp_path: Path):
    with pytest.raises(BadInput) as caught:
        go("age,name\n1,a\n2,b\n,c\nx,d\n", chunk_rows=2)
    assert str(caught.value) == "row 3, column `age`: null in a long column (and 1 more row of the same chunk)"
    assert files(tmp_path) == []


def test_bad_rows_are_set_aside_with_reasons(go, tmp_path: Path):
    text = "id,age,name\n1,1,a\n2,,b\n3,300,c\n4,4\n5,5,e\n"
    outcome = go(text, rejects=str(tmp_path / "bad.jsonl"), keep=("id",), chunk_rows=10)
    assert (outcome.read, outcome.scored, outcome.rejected) == (5, 2, 3)
    assert (tmp_path / "out.csv").read_text() == "id,next,name\n1,2,a\n5,6,e\n"
    assert [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()] == [
        {
            "row": 2,
            "column": "age",
            "reason": "null in a long column",
            "record": {"id": "2", "age": "", "name": "b"},
        },
        {
            "row": 3,
            "column": None,
            "reason": "the model raised ValueError: nobody is so old",
            "record": {"id": "3", "age": "300", "name": "c"},
        },
        {"row": 4, "column": None, "reason": "it has 2 fields, and the header has 3", "record": ["4", "4"]},
    ]


def test_rejects_without_bad_rows_are_an_empty_file(go, tmp_path: Path):
    go("age,name\n1,a\n", rejects=str(tmp_path / "bad.jsonl"))
    assert (tmp_path / "bad.jsonl").read_text() == ""


def test_several_files_are_named(go, tmp_path: Path):
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "a.csv").write_text("age,name\n1,a\n")
    (parts / "b.csv").write_text("name,age\nb,x\nc,3\n")
    with pytest.raises(BadInput, match=r"^row 2 of `.*/b\.csv`, column `age`: `x` in a long column$"):
        go("", input=str(parts))
    go("", input=str(parts), rejects=str(tmp_path / "bad.jsonl"))
    assert json.loads((tmp_path / "bad.jsonl").read_text())["file"] == str(parts / "b.csv")
    assert (tmp_path / "out.csv").read_text() == "next,name\n2,a\n4,c\n"


def test_a_raising_model_ends_the_job_with_the_row(go, tmp_path: Path):
    with pytest.raises(PredictFailed, match="row 2: the model raised ValueError: nobody is so old"):
        go("age,name\n1,a\n999,b\n")
    assert files(tmp_path) == []


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_inputs_without_rows_give_outputs_without_rows(form: str, go, tmp_path: Path):
    outcome = go("id,age,name\n", output=f"out.{form}", keep=("id",))
    assert outcome.read == 0
    if form == "parquet":
        assert list(pandas.read_parquet(tmp_path / "out.parquet").columns) == ["id", "next", "name"]
    else:
        expected = {"csv": "id,next,name\n", "jsonl": "", "json": "[]\n"}
        assert (tmp_path / f"out.{form}").read_text() == expected[form]


def test_files_of_one_format_can_be_scored_to_another_and_back(go, tmp_path: Path):
    go("id,age,name\n1,1,a\n2,2,b\n", output="a.parquet", keep=("id", "age"))
    go(
        "",
        input=str(tmp_path / "a.parquet"),
        output="b.jsonl",
        keep=("id", "next"),
        model=_next_as_age(go, tmp_path),
    )
    records = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert records == [{"id": "1", "next": 2, "prediction": 3}, {"id": "2", "next": 3, "prediction": 4}]


def _next_as_age(go, tmp_path: Path) -> str:
    path = tmp_path / "plus-one"
    signature = ModelSignature(inputs=Schema([ColSpec("long", "next")]))
    mlflow.pyfunc.save_model(path, python_model=PlusOne(), signature=signature, pip_requirements=["mlflow"])
    return str(path)


@pytest.mark.parametrize(
    ("more", "failure", "reason"),
    [
        ({"chunk_rows": 0}, BadRequest, "at least one row"),
        ({"rejects": "-"}, BadRequest, "rejected rows go to a file"),
        ({"output": "out.data"}, BadRequest, "give --output-format"),
        ({"keep": ("name",)}, BadRequest, "the model itself returns `name`"),
        ({"keep": ("nope",)}, BadInput, "no column `nope`, which is to be kept"),
        ({"params": {"a": 1}}, BadRequest, "no parameter `a`"),
        ({"model": "/nowhere"}, BadModel, "no model in `/nowhere`"),
        ({"output": "none/out.csv"}, BadOutput, "No such file or directory"),
        ({"input": "/nowhere.csv"}, BadInput, "no such file"),
        ({"rejects": "/nowhere/bad.jsonl"}, BadOutput, "cannot write `/nowhere/bad.jsonl`"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    more: dict, failure: type[ScoringFailure], reason: str, go, tmp_path: Path
):
    with pytest.raises(failure) as caught:
        go("age,name\n1,a\n", **more)
    assert reason in str(caught.value)
    assert files(tmp_path) == []


def test_output_and_rejects_are_two_files(go, tmp_path: Path):
    with pytest.raises(BadRequest, match="cannot be one file"):
        go("age,name\n1,a\n", rejects=str(tmp_path / "out.csv"))


def test_a_failed_job_leaves_the_old_output(go, tmp_path: Path):
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(BadInput):
        go("age,name\n1,a\nx,b\n", chunk_rows=1)
    assert (tmp_path / "out.csv").read_text() == "old"
    assert files(tmp_path) == ["out.csv"]


def test_the_input_may_be_the_output(go, tmp_path: Path):
    go("age,name\n1,a\n", output="in.csv")
    assert (tmp_path / "in.csv").read_text() == "next,name\n2,a\n"
