"""Single values, read as the signature says."""

from __future__ import annotations

import datetime
import decimal
import math

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.signature import Column, ValueType
from mlflow_dbimage.scoring.values import read_column

DAY = 86_400 * 10**9


def read(kind: str | ValueType, cells: list, textual: bool = True, required: bool = True):
    value_type = kind if isinstance(kind, ValueType) else ValueType(kind)
    return read_column(Column("c", value_type, required), cells, textual)


def reason(kind: str | ValueType, cell: object, textual: bool = True, required: bool = True) -> str:
    values, faults = read(kind, ["x" if kind == "any" else cell], textual, required)
    assert values == [None]
    return faults[0]


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("string", "007", "007"),
        ("string", "NA", "NA"),
        ("string", " x ", " x "),
        ("string", "", None),
        ("long", "42", 42),
        ("long", " -7 ", -7),
        ("long", "3.0", 3),
        ("long", "9007199254740993", 9007199254740993),
        ("long", "1e3", 1000),
        ("integer", "2147483647", 2147483647),
        ("double", "2", 2.0),
        ("double", "-1.5e-3", -0.0015),
        ("double", "inf", math.inf),
        ("boolean", "true", True),
        ("boolean", "FALSE", False),
        ("boolean", "1", True),
        ("binary", "aGk=", b"hi"),
        ("binary", "aG\nk=\n", b"hi"),
        ("datetime", "1970-01-02", DAY),
        ("datetime", "1970-01-02T00:00:00Z", DAY),
        ("datetime", "1970-01-02 02:30:00+02:30", DAY),
        ("datetime", "1970-01-01T00:00", 0),
        ("datetime", "1970-01-01 00:00:00.123456789", 123456789),
        ("datetime", "", None),
        (ValueType("array", items=ValueType("double")), "[1, 2.5]", [1.0, 2.5]),
        (ValueType("map", items=ValueType("long")), '{"a": 1}', {"a": 1}),
        ("any", "007", "007"),
    ],
)
def test_text(kind: str, cell: str, value: object):
    assert read(kind, [cell]) == ([value], {})


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("double", 3, 3.0),
        ("double", decimal.Decimal("1.25"), 1.25),
        ("double", "1.5", 1.5),
        ("float", 2, 2.0),
        ("long", 3.0, 3),
        ("long", "12", 12),
        ("boolean", False, False),
        ("boolean", 1, True),
        ("string", "x", "x"),
        ("string", None, None),
        ("binary", b"hi", b"hi"),
        ("datetime", datetime.date(1970, 1, 2), DAY),
        (
            "datetime",
            datetime.datetime(1970, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
            DAY - 3600 * 10**9,
        ),
        ("datetime", pandas.Timestamp(123456789), 123456789),
        ("any", [1, {"a": 2}], [1, {"a": 2}]),
        (ValueType("map", items=ValueType("double")), [("a", 1)], {"a": 1.0}),
    ],
)
def test_python_values(kind: str, cell: object, value: object):
    values, faults = read(kind, [cell], textual=False)
    assert (values, faults) == ([value], {})
    assert type(values[0]) is type(value)


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "null", "None", " "])
def test_null_in_numbers(cell: str):
    assert reason("long", cell) == "null in a long column"
    assert reason("integer", cell) == "null in an integer column"
    assert reason("boolean", cell) == "null in a boolean column"
    assert read("boolean", [cell], required=False) == ([None], {})
    values, faults = read("double", [cell])
    assert faults == {}
    assert values[0] is None or math.isnan(values[0])


@pytest.mark.parametrize(
    ("kind", "cell", "text"),
    [
        ("long", "3.5", "`3.5` in a long column"),
        ("long", "1_000", "`1_000` in a long column"),
        ("long", "9223372036854775808", "`9223372036854775808` is out of the range of a long column"),
        ("integer", "2147483648", "`2147483648` is out of the range of an integer column"),
        ("long", "twelve", "`twelve` in a long column"),
        ("double", "1,5", "`1,5` in a double column"),
        ("double", "1_0.5", "`1_0.5` in a double column"),
        ("boolean", "yes", "`yes` in a boolean column"),
        ("binary", "???", "`???` is no base64, in a binary column"),
        ("datetime", "01/02/2020", "`01/02/2020` is no ISO 8601 date, in a datetime column"),
        ("datetime", "2021-02-30", "`2021-02-30` is no date or time that exists, in a datetime column"),
        (
            "datetime",
            "2021-01-01T25:00:00",
            "`2021-01-01T25:00:00` is no date or time that exists, in a datetime column",
        ),
        ("datetime", "1600-01-01", "`1600-01-01` is out of the range of a datetime column (1677 to 2262)"),
        ("datetime", "12", "`12` is no ISO 8601 date, in a datetime column"),
        (ValueType("array", items=ValueType("long")), "[1, 2.5]", "at [1]: `2.5` in a long column"),
        (ValueType("array", items=ValueType("long")), "1, 2", "`1, 2` is no JSON, in an array column"),
        (ValueType("array", items=ValueType("long")), "3", "`3` in an array column"),
    ],
)
def test_what_does_not_fit_says_why(kind: str, cell: str, text: str):
    assert reason(kind, cell) == text


@pytest.mark.parametrize(
    ("kind", "cell", "text"),
    [
        ("string", 7, "`7` is no text, in a string column"),
        ("long", True, "`True` in a long column"),
        ("double", True, "`True` in a double column"),
        ("double", [1], "`[1]` in a double column"),
        ("boolean", 2, "`2` in a boolean column"),
        ("datetime", 1600000000, "`1600000000` in a datetime column"),
        ("long", 1.5, "`1.5` in a long column"),
        ("long", float("nan"), "null in a long column"),
        ("long", float("inf"), "`inf` in a long column"),
        ("double", 10**400, "`" + "1" + "0" * 39 + "...` in a double column"),
    ],
)
def test_python_values_that_do_not_fit_say_why(kind: str, cell: object, text: str):
    assert reason(kind, cell, textual=False) == text


def test_long_values_are_shortened_in_reasons():
    assert reason("long", "x" * 100) == "`" + "x" * 40 + "...` in a long column"


BASKET = ValueType(
    "object",
    properties=(
        ("at", ValueType("datetime"), False),
        ("count", ValueType("long"), True),
        ("note", ValueType("string"), False),
    ),
)


def test_objects_are_read_by_their_properties():
    values, faults = read(BASKET, ['{"count": 2.0, "at": "2020-01-02", "note": null}'])
    assert (values, faults) == ([{"count": 2, "at": datetime.datetime(2020, 1, 2)}], {})
    assert reason(BASKET, '{"note": "x"}') == "the object lacks `count`"
    assert reason(BASKET, '{"count": 1, "other": 2}') == "the object has the unknown `other`"
    assert reason(BASKET, '{"count": "x"}') == "at `count`: `x` in a long column"
    assert reason(BASKET, "") == "null in an object column"
    assert read(BASKET, [""], required=False) == ([None], {})


def test_only_bad_cells_are_told_of():
    values, faults = read("long", ["1", "x", "", "4"])
    assert values == [1, None, None, 4]
    assert faults == {1: "`x` in a long column", 2: "null in a long column"}


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_long_survives_its_text(number: int):
    assert read("long", [str(number)]) == ([number], {})
    assert read("long", [str(number) + ".0"]) == ([number], {})


@given(st.floats(allow_nan=False))
def test_every_double_survives_its_text(number: float):
    assert read("double", [repr(number)]) == ([number], {})


@given(st.datetimes(datetime.datetime(1680, 1, 1), datetime.datetime(2260, 1, 1)))
def test_every_time_is_read_as_pandas_reads_it(moment: datetime.datetime):
    (text_value,), faults = read("datetime", [moment.isoformat()])
    assert faults == {}
    assert pandas.Timestamp(text_value, unit="ns") == pandas.Timestamp(moment)
    assert read("datetime", [moment], textual=False) == ([text_value], {})


@given(
    st.lists(st.text(max_size=5), max_size=5), st.sampled_from(["long", "double", "boolean", "datetime", "binary"])
)
def test_any_text_is_read_or_told_of(cells: list[str], kind: str):
    values, faults = read(kind, cells)
    assert len(values) == len(cells)
    for position in faults:
        assert values[position] is None
