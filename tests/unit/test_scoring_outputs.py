"""The files that a job writes."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import os
from pathlib import Path

import numpy
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.failures import BadOutput, PredictFailed
from mlflow_dbimage.scoring.outputs import AsideFile, plain_value, writer_of


def written(form: str, *chunks: dict[str, list], types: dict[str, object] | None = None) -> bytes:
    stream = io.BytesIO()
    writer = writer_of(form, stream)
    for chunk in chunks:
        writer.write(chunk, types or {})
    writer.finish()
    return stream.getvalue()


MIXED = {
    "text": ["a, b", ""],
    "null": [None, "x"],
    "nan": [float("nan"), 1.5],
    "flag": [True, False],
    "time": [datetime.datetime(2020, 1, 2, 3), pandas.NaT],
    "list": [[1, {"a": numpy.int64(2)}], []],
}


def test_csv():
    assert written("csv", MIXED).decode() == (
        'text,null,nan,flag,time,list\n"a, b",,,True,2020-01-02T03:00:00,"[1, {""a"": 2}]"\n,x,1.5,False,,[]\n'
    )


def test_json_lines_and_json():
    records = [
        {
            "text": "a, b",
            "null": None,
            "nan": None,
            "flag": True,
            "time": "2020-01-02T03:00:00",
            "list": [1, {"a": 2}],
        },
        {"text": "", "null": "x", "nan": 1.5, "flag": False, "time": None, "list": []},
    ]
    lines = written("jsonl", MIXED).decode().splitlines()
    assert [json.loads(line) for line in lines] == records
    assert json.loads(written("json", MIXED, MIXED)) == records * 2
    assert json.loads(written("json")) == []


def test_later_rows_may_lack_columns_but_bring_no_new_ones():
    assert written("csv", {"a": [1], "b": [2]}, {"b": [3]}).decode() == "a,b\n1,2\n,3\n"
    with pytest.raises(PredictFailed, match="the new column `c` after the first rows"):
        written("csv", {"a": [1]}, {"a": [1], "c": [2]})


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (numpy.float32(0.5), 0.5),
        (numpy.int64(7), 7),
        (numpy.bool_(True), True),
        (numpy.array([1.0, numpy.nan]), [1.0, None]),
        (numpy.datetime64("2020-01-02"), "2020-01-02"),
        (numpy.datetime64("NaT"), None),
        (pandas.Timestamp("2020-01-02"), "2020-01-02T00:00:00"),
        (pandas.NaT, None),
        (pandas.NA, None),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (decimal.Decimal("1.10"), "1.10"),
        (b"hi", "aGk="),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.timedelta(seconds=1), "0:00:01"),
        ((1, {2}), [1, [2]]),
        ({1: None}, {"1": None}),
    ],
)
def test_plain_values(value: object, plain: object):
    assert plain_value(value) == plain
    json.dumps(plain_value(value), allow_nan=False)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=5)
)
def test_every_text_survives_csv(cells: list[str]):
    data = written("csv", {"a": cells, "b": cells}).decode()
    rows = list(csv.reader(io.StringIO(data, newline=""), strict=True))
    assert rows == [["a", "b"], *([cell, cell] for cell in cells)]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_double_survives_every_format(cells: list[float]):
    lines = written("csv", {"a": cells}).decode().splitlines()[1:]
    assert [float(line) for line in lines] == cells
    assert [row["a"] for row in json.loads(written("json", {"a": cells}))] == cells


def test_half_a_surrogate_pair_is_escaped():
    assert json.loads(written("jsonl", {"a": ["\ud800"]}).decode()) == {"a": "\ud800"}


def parquet(*chunks: dict[str, list], types: dict[str, object] | None = None) -> pyarrow.Table:
    return pyarrow.parquet.read_table(io.BytesIO(written("parquet", *chunks, types=types)))


def test_parquet_types_are_those_of_the_first_rows():
    table = parquet(
        {"a": [1, None], "s": ["x", None], "l": [[1.5], []]}, {"a": [3, 4], "s": [None, "y"], "l": [[], None]}
    )
    assert table.to_pydict() == {"a": [1, None, 3, 4], "s": ["x", None, None, "y"], "l": [[1.5], [], [], None]}
    assert str(table.schema.field("a").type) == "int64"


def test_parquet_keeps_the_inputs_types():
    types = {"d": pyarrow.decimal128(10, 2), "k": pyarrow.int32()}
    table = parquet({"d": [None], "k": [1]}, {"d": [decimal.Decimal("1.50")], "k": [2]}, types=types)
    assert [str(field.type) for field in table.schema] == ["decimal128(10, 2)", "int32"]


def test_parquet_columns_of_nulls_are_text_and_times_are_times():
    table = parquet({"n": [None], "t": [pandas.Timestamp("2020-01-02")]}, {"n": ["x"], "t": [pandas.NaT]})
    assert table.column("n").to_pylist() == [None, "x"]
    assert table.column("t").to_pylist() == [pandas.Timestamp("2020-01-02"), None]


def test_parquet_columns_cannot_change_their_type():
    with pytest.raises(PredictFailed, match=r"cannot write the column `a`, which was int64 in the first rows"):
        parquet({"a": [1]}, {"a": ["x"]})


def test_a_file_has_its_name_only_when_it_is_published(tmp_path: Path):
    target = tmp_path / "out.csv"
    target.write_text("old")
    aside = AsideFile(str(target))
    aside.stream.write(b"new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) != ["out.csv"]
    aside.publish()
    assert target.read_text() == "new"
    aside.discard()
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_file_that_is_discarded_leaves_nothing(tmp_path: Path):
    aside = AsideFile(str(tmp_path / "out.csv"))
    aside.discard()
    aside.discard()
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_are_refused(tmp_path: Path):
    with pytest.raises(BadOutput, match="it is a folder"):
        AsideFile(str(tmp_path))
    with pytest.raises(BadOutput, match="No such file or directory"):
        AsideFile(str(tmp_path / "none" / "out.csv"))
