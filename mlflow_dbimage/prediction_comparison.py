"""What a model predicted in its image, held against what it predicted before, or what somebody expects of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.check_report import Predictions, shown
from mlflow_dbimage.expected_output import ExpectedOutput
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.scoring.closeness import are_close, first_difference

_WORDS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first difference of two predictions."""

    row: int | None
    """Counted from 1; None where the tables differ as a whole."""
    column: str | None
    wanted: str
    """Of the reference, or expected."""
    found: str

    def __str__(self) -> str:
        place = f"column `{self.column}`" if self.row is None else f"row {self.row}, column `{self.column}`"
        prefix = "" if self.column is None else f"{place}: "
        return f"{prefix}{self.found} instead of {self.wanted}"


def compare(reference: Predictions, found: Predictions) -> Difference | None:
    """Compare two predictions for the same rows: columns and types, number of rows, and each value in turn.

    How much numbers may differ is in `scoring.closeness`; all else is equal or is not.
    """
    whole = _compare_wholes(reference, found)
    if whole is not None:
        return whole
    cell = first_difference(found.types, reference.rows, found.rows)
    if cell is None:
        return None
    return Difference(
        row=cell.row + 1,
        column=found.columns[cell.column],
        wanted=shown(cell.first),
        found=shown(cell.second),
    )


def _compare_wholes(reference: Predictions, found: Predictions) -> Difference | None:
    if reference.columns != found.columns:
        return _of_wholes(f"the columns {_listed(reference.columns)}", _listed(found.columns))
    if (reference.row_count, len(reference.rows)) != (found.row_count, len(found.rows)):
        return _of_wholes(f"{reference.row_count} rows", str(found.row_count))
    for name, wanted, has in zip(found.columns, reference.types, found.types, strict=True):
        if wanted != has:
            return Difference(row=None, column=name, wanted=wanted, found=has)
    return None


def _of_wholes(wanted: str, found: str) -> Difference:
    return Difference(row=None, column=None, wanted=wanted, found=found)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def compare_expected(expected: ExpectedOutput, found: Predictions) -> Difference | None:
    """Compare predictions with those of a file, in the columns that the file has.

    The file's values are read as what was predicted, as `score` would have written that: null stands for NaN too.
    """
    missing = tuple(name for name in expected.columns if name not in found.columns)
    if missing:
        return _of_wholes(f"the columns {_listed(tuple(expected.columns))}", _listed(found.columns))
    if expected.row_count != found.row_count:
        return _of_wholes(f"{expected.row_count} rows", str(found.row_count))
    places = [(name, found.columns.index(name)) for name in expected.columns]
    for number, row in enumerate(found.rows):
        for name, place in places:
            cell = _plain(row[place])
            wanted = _read_as(cell, expected.columns[name][number], expected.textual)
            if not are_close(found.types[place], wanted, cell):
                return Difference(row=number + 1, column=name, wanted=shown(wanted), found=shown(cell))
    return None


def _plain(value: Any) -> Any:
    """Write a typed value as `score` writes it to JSON."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return {"nan": None, "inf": "Infinity", "-inf": "-Infinity"}.get(str(value["$float"]))
    special = next((each for name, each in value.items() if name.startswith("$")), None)
    return {name: _plain(each) for name, each in value.items()} if special is None else special


def _read_as(found: Any, cell: Any, textual: bool) -> Any:
    """Read an expected value as what was found, as far as that is possible; else leave it as it is."""
    if textual:
        return _read_text_as(found, str(cell))
    if isinstance(found, float) and isinstance(cell, int) and not isinstance(cell, bool):
        return float(cell) if abs(cell) <= sys.float_info.max else cell
    if isinstance(found, list) and isinstance(cell, list) and len(found) == len(cell):
        return [_read_as(one, other, False) for one, other in zip(found, cell, strict=True)]
    if isinstance(found, dict) and isinstance(cell, Mapping):
        return {name: _read_as(found.get(name), each, False) for name, each in cell.items()}
    return cell


def _read_text_as(found: Any, cell: str) -> Any:
    if isinstance(found, str):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(cell, cell) if "Infinity" in found else cell
    if cell == "":
        return None
    if isinstance(found, bool):
        return _WORDS.get(cell.strip().lower(), cell)
    try:
        return float(cell) if isinstance(found, float) else _read_as(found, read_json(cell), False)
    except ValueError:
        return cell
