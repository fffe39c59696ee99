"""What `predict` is given, as a body: also what MLflow's command made a table of."""

from __future__ import annotations

import io
import json

import numpy
import pandas
import pytest

from plugin_entrypoints.scoring_calls import body_of


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, None]]}},
        {"dataframe_split": {"index": [0], "columns": ["a"], "data": [[1]]}},
        {"dataframe_records": [{"a": 1}, {"a": None}]},
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [1, None, 3]},
        {"inputs": {"a": [1, 2], "b": [3, 4]}},
        {"inputs": ["x", "y"]},
        {"dataframe_split": {"columns": ["a"], "data": [[1]]}, "params": {"k": 2.5}},
        [{"a": 1, "b": None}, {"a": 2, "b": "x"}],
    ],
    ids=json.dumps,
)
def test_a_file_that_mlflow_read_as_a_table_is_the_body_again(body):
    table = pandas.read_json(io.StringIO(json.dumps(body)))
    assert body_of(table) == body


def test_a_frame_is_a_list_of_records():
    frame = pandas.DataFrame({"a": [0.1, None], "when": pandas.to_datetime(["2024-05-17", None])})
    assert body_of(frame) == [{"a": 0.1, "when": "2024-05-17T00:00:00.000"}, {"a": None, "when": None}]


def test_columns_that_only_look_like_a_body_stay_columns():
    frame = pandas.DataFrame({"inputs": [1], "age": [2]})
    assert body_of(frame) == [{"inputs": 1, "age": 2}]


def test_what_json_can_say_is_taken_as_it_is():
    assert body_of(numpy.array([[1, 2]])) == [[1, 2]]
    assert body_of({"inputs": [1]}) == {"inputs": [1]}
