"""What is read of MLmodel files, old and new."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pandas
import pytest
import yaml
from mlflow.models import infer_signature

from mlflow_dbimage.scoring.failures import BadModel
from mlflow_dbimage.scoring.signature import Column, Tensor, ValueType, read


def mlmodel(directory: Path, **data: object) -> str:
    (directory / "MLmodel").write_text(yaml.safe_dump(data))
    return str(directory)


def signature(**parts: object) -> dict[str, str | None]:
    return {key: None if value is None else json.dumps(value) for key, value in parts.items()}


def test_names_and_types_of_mlflow_1_13(tmp_path: Path):
    inputs = [{"name": "age", "type": "double"}, {"name": "visits", "type": "long"}]
    file = read(mlmodel(tmp_path, signature=signature(inputs=inputs, outputs=[{"type": "string"}])))
    assert file.signature.columns == (
        Column("age", ValueType("double")),
        Column("visits", ValueType("long")),
    )
    assert file.signature.names == ("age", "visits")
    assert file.signature.outputs == ()
    assert file.mlflow_version is None


# MLflow warns of integer columns that may one day be null.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_todays_mlflow_infers(tmp_path: Path):
    rows = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [[1.5], [2.5]]})
    inferred = infer_signature(rows, pandas.DataFrame({"p": [1.0]}), params={"limit": 3, "names": ["x"]})
    file = read(mlmodel(tmp_path, signature=inferred.to_dict(), mlflow_version="3.17.2"))
    types = {column.name: column.type for column in file.signature.columns}
    assert types == {
        "a": ValueType("long"),
        "b": ValueType("string"),
        "c": ValueType("array", items=ValueType("double")),
    }
    assert file.signature.outputs == ("p",)
    assert [(each.name, each.type.name, each.is_list) for each in file.signature.parameters] == [
        ("limit", "long", False),
        ("names", "string", True),
    ]
    assert file.mlflow_version == "3.17.2"


def test_tensors_with_and_without_names(tmp_path: Path):
    named = infer_signature({"x": numpy.zeros((3, 2)), "y": numpy.zeros(3, dtype="int64")}).to_dict()
    assert read(mlmodel(tmp_path, signature=named)).signature.tensors == (
        Tensor("x", "float64", (-1, 2)),
        Tensor("y", "int64", (-1,)),
    )
    file = read(mlmodel(tmp_path, signature=infer_signature(numpy.zeros((3, 2), dtype="float32")).to_dict()))
    assert file.signature.tensors == (Tensor(None, "float32", (-1, 2)),)
    assert file.signature.names is None


@pytest.mark.parametrize(
    ("column", "required"),
    [
        ({"name": "a", "type": "long"}, True),
        ({"name": "a", "type": "long", "optional": True}, False),
        ({"name": "a", "type": "long", "required": False}, False),
        ({"name": "a", "type": "long", "required": True}, True),
    ],
)
def test_optional_columns_of_every_age(column: dict[str, object], required: bool, tmp_path: Path):
    (read_column,) = read(mlmodel(tmp_path, signature=signature(inputs=[column]))).signature.columns
    assert read_column.required is required


def test_nested_types(tmp_path: Path):
    column = {
        "name": "basket",
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "string"}, "required": True},
            "extra": {"type": "map", "values": {"type": "double"}, "required": False},
            "later": {"type": "any", "required": False},
        },
    }
    (read_column,) = read(mlmodel(tmp_path, signature=signature(inputs=[column]))).signature.columns
    assert read_column.type.properties == (
        ("extra", ValueType("map", items=ValueType("double")), False),
        ("items", ValueType("array", items=ValueType("string")), True),
        ("later", ValueType("any"), False),
    )


@pytest.mark.parametrize("from_hint", [True, False])
def test_a_predict_that_is_typed_takes_a_list(from_hint: bool, tmp_path: Path):
    parts = signature(inputs=[{"type": "string", "required": True}])
    file = read(mlmodel(tmp_path, signature=parts, is_signature_from_type_hint=from_hint))
    assert file.signature.takes_list is from_hint


def test_a_model_may_say_nothing(tmp_path: Path):
    file = read(mlmodel(tmp_path, flavors={"python_function": {"loader_module": "mlflow.sklearn"}}))
    assert not file.signature.given
    assert file.signature.names is None
    assert file.loader_module == "mlflow.sklearn"


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "signature: {inputs: '{'}", "signature: {inputs: '{}'}", "a: !!python/object:os.x {}"]
)
def test_what_is_no_mlmodel_file_is_refused(text: str, tmp_path: Path):
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(BadModel, match="cannot read") as caught:
        read(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(BadModel, match="it has no file `MLmodel`"):
        read(str(tmp_path))
