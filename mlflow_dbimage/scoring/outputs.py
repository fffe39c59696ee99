"""The files that a job writes: aside first, under their own name when all is done.

A file `scores.csv` is written as `.scores.csv.partial-<process>` in the same folder; a job that fails
removes it.
"""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import io
import json
import math
import os
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from .failures import BadOutput, PredictFailed, names

OUTPUT_FORMATS = ("csv", "jsonl", "json", "parquet")


class AsideFile:
    """A file that gets its name last.

    Args:
        path: Its name, or None for the stream that is given.
        stream: A binary stream that needs no name.

    Raises:
        BadOutput: It cannot be written.
    """

    def __init__(self, path: Optional[str], stream: Optional[IO[bytes]] = None) -> None:
        self._path = path
        self._aside = ""
        if path is None:
            assert stream is not None
            self.stream = stream
            return
        folder, name = os.path.split(os.path.abspath(path))
        if os.path.isdir(path):
            raise BadOutput("cannot write `%s`: it is a folder" % path)
        self._aside = os.path.join(folder, ".%s.partial-%d" % (name, os.getpid()))
        try:
            self.stream = open(self._aside, "wb")  # noqa: SIM115  # closed by publish or discard
        except OSError as error:
            raise BadOutput("cannot write `%s`: %s" % (path, error.strerror)) from error

    def publish(self) -> None:
        """Give the file its name."""
        self.stream.flush()
        if self._path is None:
            return
        os.fsync(self.stream.fileno())
        self.stream.close()
        os.replace(self._aside, self._path)
        self._aside = ""

    def discard(self) -> None:
        """Remove what was written, if it has no name yet."""
        if self._aside:
            self.stream.close()
            os.unlink(self._aside)
            self._aside = ""


class TextWriter:
    """Base of the formats that are text: columns are settled by the first rows."""

    def __init__(self, stream: IO[bytes]) -> None:
        # Detached at the end, so that the stream stays open. Half a surrogate pair, which JSON may hold,
        # becomes its escape.
        self._text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")

    def finish(self) -> None:
        """Write what is left."""
        self._text.flush()
        self._text.detach()


class _UnixLines:
    """Ends rows with a line feed. Old Pythons quote a carriage return only where it is in the terminator."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def write(self, row: str) -> None:
        self._text.write(row[:-2] + "\n")


class CsvWriter(TextWriter):
    """Comma-separated values with a header; null is an empty cell."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self._csv = csv.writer(_UnixLines(self._text))
        self._names: Optional[List[str]] = None

    def write(self, columns: Dict[str, List[Any]], types: Dict[str, Any]) -> None:
        """Write rows.

        Raises:
            PredictFailed: They have a column that the first rows had not.
        """
        if self._names is None:
            self._names = list(columns)
            self._csv.writerow(self._names)
        self._csv.writerows(zip(*[_csv_cells(cells) for cells in in_order(self._names, columns)]))


class JsonLinesWriter(TextWriter):
    """One JSON object a line."""

    def write(self, columns: Dict[str, List[Any]], types: Dict[str, Any]) -> None:
        """Write rows."""
        for record in json_records(columns):
            self._text.write(record + "\n")


class JsonWriter(TextWriter):
    """One list of JSON objects, a line each."""

    _separator = "[\n"

    def write(self, columns: Dict[str, List[Any]], types: Dict[str, Any]) -> None:
        """Write rows."""
        for record in json_records(columns):
            self._text.write(self._separator + record)
            self._separator = ",\n"

    def finish(self) -> None:
        """Close the list."""
        self._text.write("[]\n" if self._separator == "[\n" else "\n]\n")
        super().finish()


def writer_of(form: str, stream: IO[bytes]) -> Any:
    """Return a writer with `write(columns, types)` and `finish()`."""
    if form == "parquet":
        from .parquet_output import ParquetWriter

        return ParquetWriter(stream)
    return {"csv": CsvWriter, "jsonl": JsonLinesWriter, "json": JsonWriter}[form](stream)


def in_order(wanted: Sequence[str], columns: Dict[str, List[Any]]) -> List[List[Any]]:
    """Return columns in the order of the first rows; what later rows lack is null.

    Raises:
        PredictFailed: There is one that the first rows had not.
    """
    new = [name for name in columns if name not in wanted]
    if new:
        raise PredictFailed("the model returned the new column %s after the first rows" % names(new))
    size = max([len(cells) for cells in columns.values()] or [0])
    return [columns.get(name, [None] * size) for name in wanted]


def json_records(columns: Dict[str, List[Any]]) -> Iterator[str]:
    """Write rows as JSON objects."""
    plain = [_json_cells(cells) for cells in columns.values()]
    for row in zip(*plain):
        yield json.dumps(dict(zip(columns, row)), ensure_ascii=False, allow_nan=False)


def _json_cells(cells: List[Any]) -> List[Any]:
    return (
        cells if set(map(type, cells)) <= {str, int, bool, type(None)} else [plain_value(cell) for cell in cells]
    )


def _csv_cells(cells: List[Any]) -> List[Any]:
    return cells if set(map(type, cells)) <= {str, int, bool, type(None)} else [_csv_cell(cell) for cell in cells]


def _csv_cell(cell: Any) -> Any:
    if type(cell) is float:
        return None if math.isnan(cell) else cell
    plain = plain_value(cell)
    if isinstance(plain, (dict, list)):
        return json.dumps(plain, ensure_ascii=False)
    return plain


def plain_value(value: Any) -> Any:
    """Turn a value into what JSON has: NaN and NaT are null, dates are ISO 8601 texts, bytes are base64.

    JSON has no infinity: it becomes the text `Infinity` or `-Infinity`.
    """
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {str(key): plain_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_value(each) for each in value]
    for kinds, turn in _PLAIN:
        if isinstance(value, kinds):
            return turn(value)
    return _plain_foreign(value)


def _plain_float(value: float) -> Any:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _plain_bytes(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode("ascii")


def _plain_date(value: Any) -> Optional[str]:
    return None if str(value) == "NaT" else value.isoformat()


def _plain_text(value: Any) -> Optional[str]:
    return None if str(value) in ("NaN", "NaT", "<NA>") else str(value)


def _plain_foreign(value: Any) -> Any:
    """Turn a value of numpy, pandas, pydantic or a model's own class into what JSON has."""
    if hasattr(value, "tolist") and value.dtype.kind not in "mM":
        return plain_value(value.tolist())
    if hasattr(value, "model_dump"):
        return plain_value(value.model_dump())
    return _plain_text(value)


_PLAIN: Tuple[Tuple[Any, Callable[[Any], Any]], ...] = (
    (float, _plain_float),
    ((bytes, bytearray), _plain_bytes),
    ((datetime.date, datetime.time), _plain_date),
    ((decimal.Decimal, datetime.timedelta), _plain_text),
)
