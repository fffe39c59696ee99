from __future__ import annotations

import datetime
import decimal
import json

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.closeness import are_close
from mlflow_dbimage.scoring.predictions import read_predictions
from mlflow_dbimage.scoring.typed_values import typed, typed_rows, types_of


class Strange:
    def __str__(self) -> str:
        return "strange"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1, 1),
        (1.0, 1.0),
        (True, True),
        ("1", "1"),
        (None, None),
        (float("nan"), {"$float": "nan"}),
        (float("-inf"), {"$float": "-inf"}),
        (numpy.float64(1.5), 1.5),
        (numpy.float32(1.5), 1.5),
        (numpy.float32("nan"), {"$float": "nan"}),
        (numpy.int64(3), 3),
        (numpy.bool_(True), True),
        (numpy.array([[1, 2]]), [[1, 2]]),
        (b"ab", {"$bytes": "YWI="}),
        (pandas.Timestamp("2024-05-06 07:08:09"), {"$time": "2024-05-06T07:08:09"}),
        (datetime.date(2024, 5, 6), {"$time": "2024-05-06"}),
        (numpy.datetime64("2024-05-06"), {"$text": "2024-05-06", "$type": "datetime64"}),
        (decimal.Decimal("1.10"), {"$decimal": "1.10"}),
        (pandas.NaT, None),
        (pandas.NA, None),
        ({"a": (1, float("inf"))}, {"a": [1, {"$float": "inf"}]}),
        ({3, 1, 2}, [1, 2, 3]),
        (Strange(), {"$text": "strange", "$type": "Strange"}),
    ],
)
def test_values(value: object, written: object) -> None:
    assert typed(value) == written
    assert type(typed(value)) is type(written)
    json.dumps(typed(value), allow_nan=False)


@given(st.floats())
def test_every_number_keeps_what_it_is(number: float) -> None:
    assert are_close("float64", typed(number), json.loads(json.dumps(typed(number), allow_nan=False)))


@pytest.mark.parametrize(
    ("answer", "types"),
    [
        (numpy.array([1.0, 2.0], dtype="float32"), ["float32"]),
        (numpy.array([[1.0, 2.0], [3.0, 4.0]]), ["float64", "float64"]),
        (numpy.array(["a", "b"], dtype=object), ["string"]),
        (pandas.Series([1, 2]), ["int64"]),
        (pandas.Series(["a", None], dtype=object), ["string"]),
        (pandas.Series(["a", "b"], dtype="category"), ["string"]),
        (pandas.Series([1, None], dtype="Int64"), ["int64"]),
        (
            pandas.DataFrame(
                {"f": numpy.array([1.0, 2.0], dtype="float32"), "b": [True, False], "o": ["a", 1], "l": [[1], [2]]}
            ),
            ["float32", "boolean", "mixed", "list"],
        ),
        (pandas.DataFrame({"t": pandas.to_datetime(["2024-05-06", "2024-05-07"])}), ["datetime"]),
        ({"x": numpy.array([1.0, 2.0], dtype="float16"), "y": ["a", "b"]}, ["float16", "string"]),
        ([0.5, None], ["float64"]),
        ([numpy.float32(1), numpy.float32(2)], ["float32"]),
        ([{"a": 1}, {"a": 2}], ["int64"]),
        ([None, None], ["mixed"]),
    ],
)
def test_types_are_those_of_arrays_else_those_of_values(answer: object, types: list[str]) -> None:
    assert types_of(answer, read_predictions(answer, 2)) == types


def test_a_report_has_the_first_rows() -> None:
    predictions = read_predictions(pandas.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}), 3)
    assert typed_rows(predictions, 2) == [[1, "x"], [2, "y"]]
