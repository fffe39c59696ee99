from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_dbimage import expected_output
from mlflow_dbimage.check_report import Predictions
from mlflow_dbimage.prediction_comparison import compare, compare_expected
from mlflow_dbimage.scoring.outputs import writer_of
from mlflow_dbimage.scoring.typed_values import typed

TABLE = Predictions(
    columns=("price", "label"),
    types=("float64", "string"),
    rows=((1.5, "a"), (2.5, None), (3.5, "c")),
    row_count=3,
)

SCALARS = {
    "float64": st.floats(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    # A CSV has one empty cell for both null and the empty text.
    "string": st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1).filter(
        lambda text: text not in ("Infinity", "-Infinity")
    ),
}
VALUES = {**SCALARS, "list": st.lists(st.floats() | st.integers() | st.none(), max_size=4)}


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, list[Any]], Predictions]:
    """Draw what a model returns, as columns and as a report has it."""
    types = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    size = draw(st.integers(1, 5))
    cells = [draw(st.lists(VALUES[kind], min_size=size, max_size=size)) for kind in types]
    columns = {f"c{index}": each for index, each in enumerate(cells)}
    rows = tuple(zip(*([typed(cell) for cell in each] for each in cells), strict=True))
    return columns, Predictions(columns=tuple(columns), types=tuple(types), rows=rows, row_count=size)


@given(tables())
def test_a_table_equals_itself(table: tuple[object, Predictions]) -> None:
    assert compare(table[1], table[1]) is None


@given(tables(), tables())
def test_differing_has_no_direction(first: tuple[object, Predictions], second: tuple[object, Predictions]) -> None:
    assert (compare(first[1], second[1]) is None) == (compare(second[1], first[1]) is None)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (replace(TABLE, columns=("label", "price")), "`label`, `price` instead of the columns `price`, `label`"),
        (replace(TABLE, rows=TABLE.rows[:2], row_count=2), "2 instead of 3 rows"),
        (replace(TABLE, types=("float32", "string")), "column `price`: float32 instead of float64"),
        (
            replace(TABLE, rows=((1.5, "a"), (2.6, None), (3.5, "d"))),
            "row 2, column `price`: 2.6 instead of 2.5",
        ),
        (replace(TABLE, rows=((1.5, "a"), (2.5, ""), (3.5, "c"))), 'row 2, column `label`: "" instead of null'),
        (replace(TABLE, rows=TABLE.rows[::-1]), "row 1, column `price`: 3.5 instead of 1.5"),
    ],
)
def test_the_first_difference_in_words(found: Predictions, text: str) -> None:
    assert str(compare(TABLE, found)) == text


def written(form: str, columns: dict[str, list[Any]]) -> bytes:
    stream = io.BytesIO()
    writer = writer_of(form, stream)
    writer.write(columns, {})
    writer.finish()
    return stream.getvalue()


@given(tables(), st.sampled_from(["csv", "jsonl", "json"]))
@settings(deadline=None)
def test_what_score_writes_is_as_expected(tmp_path_factory, table, form: str) -> None:
    columns, predictions = table
    path = tmp_path_factory.mktemp("expected") / f"expected.{form}"
    path.write_bytes(written(form, columns))
    assert compare_expected(expected_output.read(path), predictions) is None


def expected(folder: Path, text: str, form: str = "csv") -> str | None:
    path = folder / f"expected.{form}"
    path.write_text(text)
    difference = compare_expected(expected_output.read(path), TABLE)
    return None if difference is None else str(difference)


@pytest.mark.parametrize(
    ("text", "form", "found"),
    [
        ("price\n1.5\n2.5\n3.5\n", "csv", None),
        ("price\n1.50000001\n2.5\n3.5\n", "csv", None),
        ("label,price\na,1.5\n,2.5\nc,3.5\n", "csv", None),
        ("price\n1.5\n2.5\nx\n", "csv", 'row 3, column `price`: 3.5 instead of "x"'),
        ("price\n1.5\n2.5\n4\n", "csv", "row 3, column `price`: 3.5 instead of 4.0"),
        ("price\n1.5\n", "csv", "3 instead of 1 rows"),
        ("cost\n1.5\n2.5\n3.5\n", "csv", "`price`, `label` instead of the columns `cost`"),
        ('[{"label": "a"}, {"label": null}, {"label": "c"}]', "json", None),
        ('{"label": "a"}\n{"label": 2}\n{"label": "c"}\n', "jsonl", "row 2, column `label`: null instead of 2"),
    ],
)
def test_expected_predictions(text: str, form: str, found: str | None, tmp_path: Path) -> None:
    assert expected(tmp_path, text, form) == found


def test_values_without_a_name_are_the_only_prediction(tmp_path: Path) -> None:
    path = tmp_path / "expected.json"
    path.write_text(json.dumps([1, 2.5]))
    table = Predictions(columns=("prediction",), types=("float64",), rows=((1.0,), (2.5,)), row_count=2)
    assert compare_expected(expected_output.read(path), table) is None


def test_a_csv_of_another_writer_is_read_too(tmp_path: Path) -> None:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["price", "label"], [1.5, "a"], [2.5, ""], [3.5, "c"]])
    assert expected(tmp_path, stream.getvalue()) is None
