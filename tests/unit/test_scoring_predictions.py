"""What models return, as columns."""

from __future__ import annotations

import numpy
import pandas
import pytest
import scipy.sparse

from mlflow_dbimage.scoring.failures import PredictFailed
from mlflow_dbimage.scoring.predictions import Predictions, join, read_predictions


@pytest.mark.parametrize(
    ("answer", "columns"),
    [
        (pandas.DataFrame({"a": [1, 2], "b": ["x", None]}, dtype=object), {"a": [1, 2], "b": ["x", None]}),
        (pandas.DataFrame([[1, 2], [3, 4]], columns=[0, ("x", "y")]), {"0": [1, 3], "x_y": [2, 4]}),
        (pandas.Series([1.5, 2.5], name="p"), {"prediction": [1.5, 2.5]}),
        (numpy.array(["a", "b"]), {"prediction": ["a", "b"]}),
        (numpy.array([[1, 2], [3, 4]]), {"prediction_0": [1, 3], "prediction_1": [2, 4]}),
        (numpy.array([[1], [3]]), {"prediction_0": [1, 3]}),
        (numpy.zeros((2, 1, 2)), {"prediction": [[[0.0, 0.0]], [[0.0, 0.0]]]}),
        (scipy.sparse.csr_matrix([[0, 1], [2, 0]]), {"prediction_0": [0, 2], "prediction_1": [1, 0]}),
        ([1, 2], {"prediction": [1, 2]}),
        (("a", None), {"prediction": ["a", None]}),
        ([[1, 2], [3, 4]], {"prediction": [[1, 2], [3, 4]]}),
        ([{"a": 1}, {"b": 2}], {"a": [1, None], "b": [None, 2]}),
        ({"p": numpy.array([1, 2]), "q": ["x", "y"]}, {"p": [1, 2], "q": ["x", "y"]}),
        (iter([1, 2]), {"prediction": [1, 2]}),
    ],
)
def test_forms(answer: object, columns: dict[str, list]):
    assert read_predictions(answer, 2).columns == columns


def test_times_of_arrays_stay_times():
    answer = numpy.array(["2020-01-02T03:04:05.123456789", "NaT"], dtype="M8[ns]")
    first, second = read_predictions(answer, 2).columns["prediction"]
    assert (first.isoformat(), second) == ("2020-01-02T03:04:05.123456", None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([1, 2, 3], "the model returned 3 predictions for 2 rows"),
        (numpy.zeros((1, 2)), "the model returned 1 prediction in `prediction_0` for 2 rows"),
        (numpy.array(1), "the model returned 1 prediction for 2 rows"),
        ({"a": 1}, "the model returned 1 prediction for 2 rows"),
        ({}, "the model returned an empty dict for 2 rows"),
        ("yes", "the model returned str, not a table, array or list"),
        (None, "the model returned NoneType, not a table, array or list"),
        (pandas.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "the model returned the column `a` twice"),
    ],
)
def test_what_does_not_belong_to_the_rows_is_refused(answer: object, reason: str):
    with pytest.raises(PredictFailed) as caught:
        read_predictions(answer, 2)
    assert str(caught.value) == reason


def test_parts_are_joined_with_nulls_for_what_one_lacks():
    parts = [Predictions({"a": [1]}, 1), Predictions({}, 0), Predictions({"a": [2, 3], "b": [4, 5]}, 2)]
    assert join(parts) == Predictions({"a": [1, 2, 3], "b": [None, 4, 5]}, 3)
    assert join([]) == Predictions({}, 0)
