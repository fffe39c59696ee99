from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.closeness import TOLERANCES, are_close, first_difference

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(CELLS)
def test_a_value_is_close_to_itself_after_json(cell: object) -> None:
    assert are_close("float64", cell, json.loads(json.dumps(cell)))


@given(CELLS, CELLS)
def test_closeness_has_no_direction(first: object, second: object) -> None:
    assert are_close("float64", first, second) == are_close("float64", second, first)


@given(st.sampled_from(sorted(TOLERANCES)), st.floats(1e-3, 1e12), st.sampled_from([-1, 1]))
def test_numbers_may_differ_by_the_tolerance_of_their_type_and_not_by_more(kind: str, number: float, sign: int):
    relative, absolute = TOLERANCES[kind]
    allowed = max(relative * number, absolute)
    assert are_close(kind, sign * number, sign * (number + 0.5 * allowed))
    assert not are_close(kind, sign * number, sign * (number + 3 * allowed))


@given(st.floats(-1e-11, 1e-11), st.floats(-1e-11, 1e-11))
def test_what_is_zero_but_for_rounding_is_equal(first: float, second: float) -> None:
    assert are_close("float64", first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (None, 0.0),
        (None, False),
        ("1", 1),
        ("a", "b"),
        (2**60, 2**60 + 1),
        ([1.0], [1.0, 2.0]),
        ([1.0], 1.0),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": 1.0}, {"a": None}),
        ({"$float": "nan"}, None),
        ({"$float": "nan"}, 0.0),
        ({"$float": "inf"}, {"$float": "-inf"}),
        ({"$decimal": "1.10"}, {"$decimal": "1.1"}),
    ],
)
def test_everything_else_is_equal_or_is_not(first: object, second: object) -> None:
    assert not are_close("float64", first, second)
    assert not are_close("float64", second, first)


def test_lists_have_the_tolerance_of_their_column() -> None:
    assert are_close("float32", [[1.0, 2.0]], [[1.00005, 2.0]])
    assert not are_close("float64", [[1.0, 2.0]], [[1.00005, 2.0]])


@given(st.lists(st.tuples(NUMBERS, st.text()), min_size=1, max_size=20), st.data())
def test_the_first_difference_is_the_first(rows: list[tuple[float, str]], data: st.DataObject) -> None:
    changed = data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1))
    other = [(row[0], row[1] + "!") if index in changed else row for index, row in enumerate(rows)]
    found = first_difference(["float64", "string"], rows, other)
    assert found is not None
    assert (found.row, found.column) == (min(changed), 1)
    assert first_difference(["float64", "string"], rows, list(rows)) is None


def test_tolerances_are_above_the_precision_of_their_types() -> None:
    epsilons = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10}
    for kind, (relative, absolute) in TOLERANCES.items():
        assert epsilons[kind] * 5 < relative < 0.1
        assert absolute < relative
