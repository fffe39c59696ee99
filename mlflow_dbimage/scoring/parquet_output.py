"""Parquet output: the types are settled by the first rows, and by the input's own for columns that are kept."""

from __future__ import annotations

import decimal
from typing import IO, Any, Dict, List

from .failures import PredictFailed
from .outputs import in_order, plain_value
from .row_formats import arrow_parquet


class ParquetWriter:
    """A Parquet file of one row group a chunk.

    Raises:
        BadRequest: The model's environment has no pyarrow.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._parquet = arrow_parquet()
        self._stream = stream
        self._writer: Any = None
        self._schema: Any = None

    def write(self, columns: Dict[str, List[Any]], types: Dict[str, Any]) -> None:
        """Write rows.

        Raises:
            PredictFailed: They do not have the columns and types of the first rows.
        """
        import pyarrow

        if self._schema is None:
            found = {name: types.get(name) or _type_of(name, cells) for name, cells in columns.items()}
            self._schema = pyarrow.schema(list(found.items()))
            self._writer = self._parquet.ParquetWriter(self._stream, self._schema)
        cells = in_order(self._schema.names, columns)
        arrays = [_array(field.name, each, field.type) for field, each in zip(self._schema, cells)]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        """Write the footer."""
        if self._writer is None:
            self.write({}, {})
        self._writer.close()


def _type_of(name: str, cells: List[Any]) -> Any:
    """Tell the type of a column by its cells; columns of nulls alone are text."""
    import pyarrow

    found = _array(name, cells, None).type
    return pyarrow.string() if pyarrow.types.is_null(found) else found


def _array(name: str, cells: List[Any], kind: Any) -> Any:
    import pyarrow

    try:
        return pyarrow.array(_arrow_cells(cells), type=kind, from_pandas=True)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        wish = "" if kind is None else ", which was %s in the first rows" % kind
        text = "cannot write the column `%s`%s: %s"
        raise PredictFailed(text % (name, wish, " ".join(str(error).split()))) from error


def _arrow_cells(cells: List[Any]) -> List[Any]:
    """Keep what Arrow knows; nested and foreign values become what JSON has."""
    known = (str, int, float, bytes, bool, type(None), decimal.Decimal)
    if all(isinstance(cell, known) for cell in cells):
        return cells
    return [cell if isinstance(cell, known) or hasattr(cell, "isoformat") else plain_value(cell) for cell in cells]
