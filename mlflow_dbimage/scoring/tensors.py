"""Rows as numpy arrays, for models whose signature has tensors."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence, Tuple

from .chunk import Chunk, Fault
from .failures import BadInput, counted, names
from .signature import Column, Tensor, ValueType
from .values import read_column, read_value, shown

_TYPES = {"f": "double", "i": "long", "u": "long", "b": "boolean", "M": "datetime"}


def read_tensor(tensor: Tensor, chunk: Chunk, columns: Sequence[str], faults: Dict[int, Fault]) -> Any:
    """Make one array of a chunk; rows that cannot be read are zero or empty in it, and told of in `faults`.

    A row is one column that holds a list (JSON in a CSV cell), or as many columns as a row of the tensor has
    elements, in C order.

    Raises:
        BadInput: The number of columns does not fit.
    """
    import numpy

    dtype = numpy.dtype(tensor.dtype)
    kind = ValueType(_TYPES.get(dtype.kind, "any"))
    if len(columns) == 1 and _holds_lists(chunk.columns.get(columns[0], []), chunk.textual):
        rows = _list_rows(tensor, kind, chunk, columns[0], faults)
        return numpy.array(rows, dtype=_dtype(dtype)).reshape((chunk.size,) + _inner_shape(tensor, rows))
    width = _width(tensor)
    if len(columns) != width:
        text = "the model takes %s for a row, and `%s` has %d: %s; columns to keep do not count"
        wish = "one column with lists" if width < 0 else counted(width, "column") + ", or one with lists,"
        raise BadInput(text % (wish, chunk.source, len(columns), names(columns)))
    cells = [_scalars(kind, name, chunk, faults) for name in columns]
    flat = numpy.array(cells, dtype=_dtype(dtype)).reshape(width, chunk.size)
    return numpy.ascontiguousarray(flat.T).reshape((chunk.size,) + tensor.shape[1:])


def _width(tensor: Tensor) -> int:
    """Return how many elements a row has; -1 where that varies."""
    width = 1
    for length in tensor.shape[1:]:
        if length < 0:
            return -1
        width *= length
    return width


def _dtype(dtype: Any) -> Any:
    return str if dtype.kind in "US" else dtype


def _holds_lists(cells: List[Any], textual: bool) -> bool:
    for cell in cells:
        if cell is not None and cell != "":
            return isinstance(cell, str) and cell.lstrip()[:1] == "[" if textual else isinstance(cell, list)
    return False


def _scalars(kind: ValueType, name: str, chunk: Chunk, faults: Dict[int, Fault]) -> List[Any]:
    cells = chunk.columns.get(name, [None] * chunk.size)
    values, wrong = read_column(Column(name, kind), cells, chunk.textual)
    for position, reason in wrong.items():
        faults.setdefault(position, Fault(reason, name))
    empty = {"double": float("nan"), "long": 0, "boolean": False}.get(kind.name)
    return [empty if value is None else value for value in values]


def _list_rows(tensor: Tensor, kind: ValueType, chunk: Chunk, name: str, faults: Dict[int, Fault]) -> List[Any]:
    rows: List[Any] = []
    wanted = list(tensor.shape[1:])
    for position, cell in enumerate(chunk.columns[name]):
        try:
            value = _leaves(kind, json.loads(cell) if chunk.textual else cell)
            shape = _shape(value)
            if len(shape) != len(wanted) or any(w not in (-1, s) for w, s in zip(wanted, shape)):
                raise ValueError("a list of shape %s, where the model takes %s" % (list(shape), wanted))
            if -1 in wanted:
                wanted = list(shape)  # within one call all rows have one shape
            rows.append(value)
        except ValueError as error:
            reason = "%s is no JSON" % shown(cell) if isinstance(error, json.JSONDecodeError) else str(error)
            faults.setdefault(position, Fault(reason, name))
            rows.append(None)
    empty: Any = next((row for row in rows if row is not None), [])
    return [empty if row is None else row for row in rows]


def _inner_shape(tensor: Tensor, rows: List[Any]) -> Tuple[int, ...]:
    return _shape(rows[0]) if rows and rows[0] else tuple(max(length, 0) for length in tensor.shape[1:])


def _leaves(kind: ValueType, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_leaves(kind, each) for each in value]
    if value is None:
        if kind.name == "double":
            return float("nan")
        raise ValueError("null in a list")
    return read_value(kind, value, False)


def _shape(value: Any) -> Tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    shapes = {_shape(each) for each in value}
    if len(shapes) > 1:
        raise ValueError("a list whose lists have different lengths")
    return (len(value),) + (shapes.pop() if shapes else ())
