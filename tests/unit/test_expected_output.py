from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dbimage import expected_output
from mlflow_dbimage.errors import InputError


def test_columns_of_a_csv_are_text(tmp_path: Path) -> None:
    (tmp_path / "expected.csv").write_text("a,b\n1,x\n2,\n")
    found = expected_output.read(tmp_path / "expected.csv")
    assert (found.columns, found.row_count, found.textual) == ({"a": ("1", "2"), "b": ("x", "")}, 2, True)


def test_what_a_model_brings_along(tmp_path: Path) -> None:
    assert expected_output.logged_with(tmp_path) is None
    (tmp_path / "expected_output.json").write_text('[{"a": 1}, {"a": null}]')
    found = expected_output.logged_with(tmp_path)
    assert found is not None
    assert (found.columns, found.row_count, found.textual) == ({"a": (1, None)}, 2, False)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("expected.json", "{", "it is no JSON"),
        ("expected.jsonl", '{"a": 1}\nx\n', "row 2: the line is no JSON"),
        ("expected.csv", "a,b\n1\n", "row 1: it has 1 fields, and the header has 2"),
        ("expected.csv", "a\n", "it has no rows"),
        ("expected.txt", "1", "does not tell its format"),
    ],
)
def test_what_cannot_be_read(name: str, text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        expected_output.read(tmp_path / name)
    assert caught.value.code == "bad-expected-output"
    assert why in caught.value.message
    assert str(tmp_path / name) in caught.value.message
