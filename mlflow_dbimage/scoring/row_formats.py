"""The formats of rows that are read in chunks, in bounded memory: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from typing import Any, Dict, Iterator, List, Optional, Set, TextIO

from .chunk import Chunk, Fault, NotJson, chunk_of_rows
from .failures import BadInput, BadRequest

# Cells may hold JSON or base64; the limit is of C's `long`.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


def read_csv(stream: TextIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read comma-separated values with a header (RFC 4180); empty lines are no rows.

    Raises:
        BadInput: There is no header, or the quoting is broken.
    """
    reader = csv.reader(stream, strict=True)
    try:
        header = next((row for row in reader if row), None)
        if header is None:
            raise BadInput("the file is empty: it has no header")
        rows = (row for row in reader if row)
        chunk = _csv_chunk(header, list(itertools.islice(rows, chunk_rows)))
        while chunk.size:
            yield chunk
            chunk = _csv_chunk(header, list(itertools.islice(rows, chunk_rows)))
            if not chunk.size:
                return
        yield chunk  # a file without rows still has columns
    except csv.Error as error:
        raise BadInput("line %d: %s" % (reader.line_num, error)) from error


def _csv_chunk(header: List[str], rows: List[List[str]]) -> Chunk:
    width = len(header)
    faults: Dict[int, Fault] = {}
    broken: Dict[int, Any] = {}
    for position, row in enumerate(rows):
        if len(row) != width:
            faults[position] = Fault("it has %d fields, and the header has %d" % (len(row), width))
            broken[position] = row
            rows[position] = [""] * width
    cells = [list(column) for column in zip(*rows)] if rows else [[] for _ in header]
    columns = dict(zip(reversed(header), reversed(cells)))  # of columns with one name the first counts
    ordered = {name: columns[name] for name in header}
    duplicates = tuple(sorted({name for name in ordered if header.count(name) > 1}))
    return Chunk(ordered, len(rows), True, faults, broken, duplicates)


def read_jsonl(stream: TextIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read one JSON value a line; empty lines are no rows."""
    lines = (line for line in stream if not line.isspace())
    while True:
        rows = [_json_line(line) for line in itertools.islice(lines, chunk_rows)]
        if not rows:
            return
        yield chunk_of_rows(rows)


def _json_line(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return NotJson(line.rstrip("\r\n"))


def read_parquet(path: str, chunk_rows: int, wanted: Optional[Set[str]]) -> Iterator[Chunk]:
    """Read a Parquet file, of its columns only those that are wanted.

    Raises:
        BadRequest: The model's environment has no pyarrow.
        BadInput: It is no Parquet.
    """
    parquet = arrow_parquet()
    from pyarrow import ArrowException

    try:
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow if hasattr(file, "schema_arrow") else file.schema.to_arrow_schema()
        names = [name for name in schema.names if wanted is None or name in wanted]
        types = {name: schema.field(name).type for name in names}
        found = False
        for batch in _batches(file, chunk_rows, names):
            if batch.num_rows:
                found = True
                yield Chunk(batch.to_pydict(), batch.num_rows, False, types=types)
        if not found:
            yield Chunk({name: [] for name in names}, 0, False, types=types)
    except ArrowException as error:
        raise BadInput(" ".join(str(error).split())) from error


def _batches(file: Any, chunk_rows: int, names: List[str]) -> Iterator[Any]:
    if hasattr(file, "iter_batches"):  # pyarrow 3
        yield from file.iter_batches(batch_size=chunk_rows, columns=names)
        return
    for group in range(file.num_row_groups):
        yield from file.read_row_group(group, columns=names).to_batches(max_chunksize=chunk_rows)


def arrow_parquet() -> Any:
    """Return the module `pyarrow.parquet`.

    Raises:
        BadRequest: The model's environment has none.
    """
    try:
        import pyarrow.parquet

        return pyarrow.parquet
    except ImportError as error:
        text = "Parquet needs pyarrow, which the model's environment has not; use csv or jsonl"
        raise BadRequest(text) from error
