from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checked_models import KeptChecks
from mlflow_dbimage.check_report import CheckReport, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def good(checks: KeptChecks) -> dict[str, Any]:
    return checks("good")


def test_a_real_report_is_read(good: dict[str, Any]) -> None:
    report = CheckReport.from_dict(good)
    assert report.predictions is not None
    assert report.predictions.rows == ((0.5, "+"), (-1.5, "+"))
    assert report.modules == {"mlflow": None, "pandas": None}
    assert report.repeated is None
    assert report.imports[0].own_seconds >= report.imports[-1].own_seconds


def test_what_ended_a_check_is_read(checks: KeptChecks) -> None:
    error = CheckReport.from_dict(checks("own-directory")).error
    assert error is not None
    assert (error.stage, error.chain[0].type, error.chain[0].errno) == ("predict", "OSError", 30)
    assert str(error.chain[0].path).endswith("/model/last.log")
    assert str(error).startswith("OSError: [Errno 30] Read-only file system: ")
    random = CheckReport.from_dict(checks("random"))
    assert str(random.repeated).startswith("row 1, column `prediction`: 0.")


@given(st.data())
def test_a_model_may_write_what_it_likes(good: dict[str, Any], data: st.DataObject) -> None:
    document = copy.deepcopy(good)
    if data.draw(st.booleans()):
        del document[data.draw(st.sampled_from(sorted(document)))]
    else:
        document[data.draw(st.sampled_from(sorted(document)))] = data.draw(JSON)
    try:
        CheckReport.from_dict(document)
    except ValueError as error:
        assert str(error)  # most changes are refused, some are not seen


@pytest.mark.parametrize("document", [None, [], "text", {}, {"version": 1}, {"version": 2}])
def test_what_is_no_report(document: object) -> None:
    with pytest.raises(ValueError, match="report"):
        CheckReport.from_dict(document)


def test_values_that_are_nested_absurdly_are_refused(good: dict[str, Any]) -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    document = copy.deepcopy(good)
    document["predictions"]["rows"] = [[deep, "+"]]
    with pytest.raises(ValueError, match="nested"):
        CheckReport.from_dict(document)
    document["predictions"]["rows"] = [["+"]]
    with pytest.raises(ValueError, match="not as long as their columns"):
        CheckReport.from_dict(document)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        ("ä", '"ä"'),
        (None, "null"),
        ({"$float": "nan"}, '"nan"'),
        ({"a": 1}, '{"a": 1}'),
        ("x" * 100, '"' + "x" * 59 + "..."),
    ],
)
def test_values_are_shown_shortened(value: object, text: str) -> None:
    assert shown(value) == text
