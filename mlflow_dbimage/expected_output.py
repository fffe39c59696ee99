"""Predictions that somebody expects of a model for its example: a file, or what was logged with the model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.scoring.chunk import VALUE, Chunk
from mlflow_dbimage.scoring.failures import ScoringFailure
from mlflow_dbimage.scoring.rows import Rows

#: Where a model brings it along, relative to its directory.
IN_MODEL = "expected_output.json"

#: What `score` calls the only column of models that return values without a name.
_UNNAMED = "prediction"
_ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedOutput:
    """What a model should predict for its example."""

    columns: Mapping[str, tuple[Any, ...]]
    row_count: int
    textual: bool
    """Whether all values are text (CSV)."""


def read(path: Path, called: str | None = None) -> ExpectedOutput:
    """Read a CSV, JSON lines, JSON or Parquet file, in the forms that `score` writes.

    Args:
        path: Of the file.
        called: How messages call it; None for its path.

    Raises:
        InputError: `bad-expected-output`.
    """
    called = called or str(path)
    try:
        chunks = list(Rows(str(path), None, _ROWS_AT_A_TIME).chunks(None))
    except ScoringFailure as failure:
        raise _unreadable(called, str(failure)) from None
    except RecursionError:
        raise _unreadable(called, "its values are nested too deeply") from None
    faults = [f"row {chunk.number(each)}: {chunk.faults[each]}" for chunk in chunks for each in chunk.faults]
    if faults:
        raise _unreadable(called, faults[0])
    if not any(chunk.size for chunk in chunks):
        raise _unreadable(called, "it has no rows")
    return ExpectedOutput(
        columns={_UNNAMED if name == VALUE else name: _cells(chunks, name) for name in chunks[0].names},
        row_count=sum(chunk.size for chunk in chunks),
        textual=chunks[0].textual,
    )


def wanted(given: Path | None, model: Path) -> ExpectedOutput | None:
    """Read the file that somebody gave, else what the model directory brings along; None where there is neither.

    Raises:
        InputError: `bad-expected-output`.
    """
    return read(given) if given is not None else logged_with(model)


def _cells(chunks: list[Chunk], name: str) -> tuple[Any, ...]:
    return tuple(cell for chunk in chunks for cell in chunk.columns.get(name, [None] * chunk.size))


def logged_with(model: Path) -> ExpectedOutput | None:
    """Read what a model directory brings along; None where it brings none.

    Raises:
        InputError: `bad-expected-output`.
    """
    path = model / IN_MODEL
    return read(path) if path.is_file() else None


def brought_along(data: bytes) -> ExpectedOutput:
    """Read the contents of the file that a model brings along.

    Raises:
        InputError: `bad-expected-output`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / IN_MODEL
        path.write_bytes(data)
        return read(path, IN_MODEL)


def _unreadable(called: str, why: str) -> InputError:
    return InputError(
        "bad-expected-output",
        f"the expected predictions `{called}` cannot be read: {why}",
        hint="a file that `score` writes will do: CSV, JSON lines or JSON",
    )
