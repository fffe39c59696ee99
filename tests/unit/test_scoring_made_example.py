from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlflow_dbimage.scoring.chunk import chunk_of_rows
from mlflow_dbimage.scoring.inputs import InputMaker
from mlflow_dbimage.scoring.made_example import made_rows
from mlflow_dbimage.scoring.signature import SCALARS, Signature, read


def signature(directory: Path, inputs: Sequence[object], from_type_hint: bool) -> Signature:
    data = {"signature": {"inputs": json.dumps(inputs)}, "is_signature_from_type_hint": from_type_hint}
    (directory / "MLmodel").write_text(json.dumps(data))
    return read(str(directory)).signature


TENSOR = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2, 3]}}


@pytest.mark.parametrize("from_type_hint", [False, True])
@pytest.mark.parametrize(
    "inputs",
    [
        [{"type": kind, "name": kind} for kind in SCALARS],
        [{"type": kind} for kind in SCALARS],
        [{"type": "double"}],
        [{"type": "array", "items": {"type": "long"}, "name": "a"}],
        [{"type": "map", "values": {"type": "string"}, "name": "m"}],
        [{"type": "object", "properties": {"x": {"type": "datetime"}}, "name": "o"}],
        [TENSOR],
        [{**TENSOR, "name": "t"}],
        [{**TENSOR, "name": "t"}, {**TENSOR, "name": "u"}],
        [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1, 1]}}],
        [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, -1]}}],
    ],
    ids=lambda given: json.dumps(given)[:60],
)
def test_made_rows_are_what_the_signature_takes(inputs: list[object], from_type_hint: bool, tmp_path: Path):
    given = signature(tmp_path, inputs, from_type_hint)
    made = InputMaker(given, ()).make(chunk_of_rows(made_rows(given)))
    assert made.faults == {}
    assert len(made.positions) == 2


def test_nothing_is_made_of_nothing() -> None:
    assert made_rows(Signature()) is None
