"""Rows of files, in chunks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.failures import BadInput, BadRequest
from mlflow_dbimage.scoring.row_formats import read_csv
from mlflow_dbimage.scoring.rows import Rows


def chunks(path: Path, chunk_rows: int = 1000, form: str | None = None, wanted: set[str] | None = None):
    return list(Rows(str(path), form, chunk_rows).chunks(wanted))


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_csv_in_chunks_keeps_text_as_it_is(tmp_path: Path):
    path = write(tmp_path / "in.csv", '\ufeffid,note\r\n007,"a, ""b""\n2nd line"\r\n008,\r\n\r\n009,x\r\n')
    first, second = chunks(path, 2)
    assert first.columns == {"id": ["007", "008"], "note": ['a, "b"\n2nd line', ""]}
    assert (first.first, second.first) == (1, 3)
    assert second.columns == {"id": ["009"], "note": ["x"]}
    assert first.textual


def test_csv_rows_of_another_length_are_faults(tmp_path: Path):
    (chunk,) = chunks(write(tmp_path / "in.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n"))
    assert {position: str(fault) for position, fault in chunk.faults.items()} == {
        1: "it has 1 fields, and the header has 2",
        2: "it has 3 fields, and the header has 2",
    }
    assert chunk.record(2) == ["4", "5", "6"]
    assert chunk.record(3) == {"a": "7", "b": "8"}


def test_csv_without_rows_has_columns_and_without_a_header_is_refused(tmp_path: Path):
    (chunk,) = chunks(write(tmp_path / "in.csv", "a,b\n"))
    assert (chunk.names, chunk.size) == (("a", "b"), 0)
    with pytest.raises(BadInput, match="has no header"):
        chunks(write(tmp_path / "empty.csv", ""))


def test_csv_with_a_column_twice_says_so(tmp_path: Path):
    (chunk,) = chunks(write(tmp_path / "in.csv", "a,b,a\n1,2,3\n"))
    assert chunk.columns == {"a": ["1"], "b": ["2"]}
    assert chunk.duplicates == ("a",)


@pytest.mark.parametrize("data", [b'a\n"1', b'a\n"1"2\n', b"a\n\xff\n"])
def test_broken_csv_is_refused(data: bytes, tmp_path: Path):
    path = tmp_path / "in.csv"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"^cannot read `.*in\.csv`: "):
        chunks(path)


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
            min_size=2,
            max_size=2,
        ),
        max_size=5,
    )
)
def test_what_pythons_csv_writes_is_read_back(rows: list[list[str]]):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerows([["a", "b"], *rows])
    stream.seek(0)
    read = [list(cells) for chunk in read_csv(stream, 2) for cells in zip(*chunk.columns.values(), strict=True)]
    assert read == rows


def test_json_lines_are_records_and_bad_lines_are_faults(tmp_path: Path):
    text = '{"a": 1, "b": null}\n\n{"a": 2}\nnot json\n[1]\n{"c": "ä"}\n'
    (chunk,) = chunks(write(tmp_path / "in.jsonl", text))
    assert chunk.columns == {"a": [1, 2, None, None, None], "b": [None] * 5, "c": [None] * 4 + ["ä"]}
    assert {position: str(fault) for position, fault in chunk.faults.items()} == {
        2: "the line is no JSON",
        3: "the line is no JSON object",
    }
    assert (chunk.record(2), chunk.record(3)) == ("not json", [1])


def test_json_lines_of_values_are_one_column(tmp_path: Path):
    (chunk,) = chunks(write(tmp_path / "in.ndjson", '[1, 2]\n[3, 4]\n{"a": 1}\n'))
    assert chunk.columns == {"input": [[1, 2], [3, 4], None]}
    assert str(chunk.faults[2]) == "a JSON object among other values"


ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    "body",
    [
        ROWS,
        {"dataframe_records": ROWS},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]], "index": [0, 1]}},
        {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"inputs": {"a": [1, 2], "b": ["x", "y"]}},
    ],
)
def test_json_bodies(body: object, tmp_path: Path):
    (chunk,) = chunks(write(tmp_path / "in.json", json.dumps(body)))
    assert chunk.columns == {"a": [1, 2], "b": ["x", "y"]}
    assert not chunk.textual


def test_a_record_alone_is_a_row_and_params_come_along(tmp_path: Path):
    path = write(tmp_path / "in.json", json.dumps({"inputs": {"a": 1}, "params": {"limit": 2}}))
    rows = Rows(str(path), None, 10)
    assert rows.params == {"limit": 2}
    assert next(rows.chunks(None)).columns == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is no JSON"),
        ('{"a": 1}\n{"a": 2}\n', "one value a line is the format jsonl"),
        ("7", "it holds neither a list of records"),
        ('{"inputs": [], "instances": []}', "it has both `instances` and `inputs`"),
        ('{"dataframe_records": {}}', "its `dataframe_records` is no list of records"),
        ('{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "rows that are not as long as `columns`"),
        ('{"inputs": [1], "params": 3}', "its `params` are no JSON object"),
    ],
)
def test_bodies_of_no_known_form_are_refused(text: str, reason: str, tmp_path: Path):
    with pytest.raises(BadInput) as caught:
        chunks(write(tmp_path / "in.json", text))
    assert reason in str(caught.value)


def test_parquet_in_chunks_with_only_the_wanted_columns(tmp_path: Path):
    frame = pandas.DataFrame({"a": range(5), "b": [1.5, None, 2.5, 3.5, 4.5], "c": list("vwxyz")})
    frame["t"] = pandas.Timestamp("2020-01-02 03:04:05.123456789")
    frame.to_parquet(tmp_path / "in.parquet")
    first, second, third = chunks(tmp_path / "in.parquet", 2, wanted={"b", "c", "t", "zzz"})
    assert first.names == ("b", "c", "t")
    assert first.columns["b"] == [1.5, None]
    assert first.columns["t"][0].nanosecond == 789
    assert (second.first, third.first, third.size) == (3, 5, 1)
    assert str(first.types["b"]) == "double"


def test_parquet_without_rows_has_columns_and_what_is_none_is_refused(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table({"a": pyarrow.array([], "int64")}), tmp_path / "in.parquet")
    (chunk,) = chunks(tmp_path / "in.parquet")
    assert (chunk.names, chunk.size) == (("a",), 0)
    with pytest.raises(BadInput):
        chunks(write(tmp_path / "no.parquet", "PAR1 it is not"))


def test_a_folder_is_its_files_in_order_and_hidden_ones_are_none(tmp_path: Path):
    for name, text in (
        ("part-1.csv", "a,b\n3,4\n"),
        ("part-0.csv", "b,a\n1,2\n"),
        ("_SUCCESS", ""),
        (".x.crc", ""),
    ):
        write(tmp_path / name, text)
    first, second = chunks(tmp_path)
    assert (first.columns, first.first) == ({"b": ["1"], "a": ["2"]}, 1)
    assert (second.columns, second.first) == ({"a": ["3"], "b": ["4"]}, 2)
    assert second.source == str(tmp_path / "part-1.csv")


def test_a_pattern_is_the_files_that_fit(tmp_path: Path):
    for name in ("x-1.csv", "x-2.csv", "y-1.csv"):
        write(tmp_path / name, "a\n1\n")
    assert [Path(chunk.source).name for chunk in chunks(tmp_path / "x-*.csv")] == ["x-1.csv", "x-2.csv"]


def test_formats_that_cannot_be_told_are_asked_for(tmp_path: Path):
    path = write(tmp_path / "in.data", "a\n1\n")
    with pytest.raises(BadRequest, match=r"give --input-format"):
        chunks(path)
    assert chunks(path, form="csv")[0].columns == {"a": ["1"]}
    write(tmp_path / "in.csv", "a\n1\n")
    write(tmp_path / "in.jsonl", "{}\n")
    with pytest.raises(BadRequest, match="several formats: csv, jsonl"):
        chunks(tmp_path / "in.*sv*".replace("sv*", "[sj]*"))
    with pytest.raises(BadRequest, match="standard input"):
        Rows("-", None, 10)
    with pytest.raises(BadRequest, match="Parquet cannot be read from the standard input"):
        Rows("-", "parquet", 10)


def test_what_is_not_there_is_told_of(tmp_path: Path):
    with pytest.raises(BadInput, match="no such file"):
        chunks(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="no files to score"):
        chunks(tmp_path)
