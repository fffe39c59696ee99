"""A chunk of rows as the argument of `predict`, by the model's signature.

Named columns are taken by name, others by position; further columns are ignored. Without a signature the
types are guessed from the first chunk, as pandas would, and held from then on (whole numbers may become doubles).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from .chunk import VALUE, Chunk, Fault
from .failures import BadInput, counted, names
from .guesses import guess_columns
from .signature import Column, Signature, ValueType
from .tensors import read_tensor
from .values import NOT_A_TIME, read_column, read_value

#: A column, its cells, and whether they are text.
_Cells = Tuple[Column, List[Any], bool]

_GUESSED = " (a type guessed from the first rows: the model has no signature)"
_DTYPES = {"integer": "int32", "long": "int64", "double": "float64"}


@dataclass(frozen=True)
class ModelInput:
    """The rows of a chunk that can be given to the model."""

    data: Any
    """A DataFrame, an array, a dict of arrays, or a list."""
    positions: List[int]
    """Where the rows are in the chunk."""
    faults: Dict[int, Fault]
    """Why the others are left out, by position."""

    def part(self, start: int, stop: int) -> Any:
        """Return the data of some of the rows."""
        if start == 0 and stop == len(self.positions):
            return self.data
        if isinstance(self.data, dict):
            return {name: array[start:stop] for name, array in self.data.items()}
        if hasattr(self.data, "iloc"):
            return self.data.iloc[start:stop].reset_index(drop=True)
        return self.data[start:stop]


class InputMaker:
    """Makes model inputs of chunks.

    Args:
        signature: What the model takes.
        keep: Columns to carry to the output; where the model takes columns by position, or says nothing,
            they are not given to it.
    """

    def __init__(self, signature: Signature, keep: Sequence[str]) -> None:
        self._signature = signature
        self._keep = tuple(keep)
        self._columns: Tuple[Column, ...] = signature.columns
        self._begun = False

    @property
    def wanted(self) -> Optional[Set[str]]:
        """The columns that are looked at, or None for all."""
        known = self._signature.names
        return None if known is None else set(known) | set(self._keep)

    def make(self, chunk: Chunk) -> ModelInput:
        """Make the input of a chunk.

        Raises:
            BadInput: Columns are missing, or are there twice.
        """
        if not self._signature.given and not self._begun and chunk.size:
            self._columns = guess_columns(chunk, self._free_names(chunk))
        self._check_columns(chunk)
        self._begun = self._begun or chunk.size > 0
        faults = dict(chunk.faults)
        if self._signature.tensors:
            return self._arrays(chunk, faults)
        found = self._cells(chunk, faults)
        read = [self._read(column, cells, textual, faults) for column, cells, textual in found]
        positions = [each for each in range(chunk.size) if each not in faults]
        if self._signature.takes_list:
            return ModelInput(_items(*read[0], positions), positions, faults)
        return ModelInput(_frame(read, positions, chunk.size), positions, faults)

    def _arrays(self, chunk: Chunk, faults: Dict[int, Fault]) -> ModelInput:
        arrays = {}
        for tensor in self._signature.tensors:
            free = self._free_names(chunk) if tensor.name is None else (tensor.name,)
            arrays[tensor.name] = read_tensor(tensor, chunk, free, faults)
        positions = [each for each in range(chunk.size) if each not in faults]
        sound = {name: array[positions] for name, array in arrays.items()}
        return ModelInput(sound.get(None, sound), positions, faults)

    def _free_names(self, chunk: Chunk) -> Tuple[str, ...]:
        return tuple(name for name in chunk.names if name not in self._keep)

    def _check_columns(self, chunk: Chunk) -> None:
        """Look for columns that are missing, or there twice; after its first chunk JSON may leave out nulls."""
        needed = [each.name for each in self._columns if each.required] + [
            each.name for each in self._signature.tensors
        ]
        known = [name for name in needed if name is not None]
        firm = chunk.textual or chunk.types or not self._begun
        missing = [name for name in known if firm and name not in chunk.columns]
        lost = [name for name in self._keep if firm and name not in chunk.columns and name not in missing]
        if missing or lost:
            parts = [names(missing) + ", which the model needs"] if missing else []
            parts += [names(lost) + ", which is to be kept"] if lost else []
            has = names(chunk.names) or "none"
            raise BadInput("`%s` has no column %s; it has %s" % (chunk.source, ", and no ".join(parts), has))
        twice = [name for name in chunk.duplicates if name in known or name in self._keep]
        if twice:
            raise BadInput("`%s` has the column %s twice" % (chunk.source, names(twice)))

    def _cells(self, chunk: Chunk, faults: Dict[int, Fault]) -> List[_Cells]:
        """Return the cells of each column that the model takes."""
        textual = chunk.textual
        if self._signature.names is not None or not self._signature.given:
            absent: List[Any] = ["" if textual else None] * chunk.size
            return [
                (column, chunk.columns.get(str(column.name), absent), textual)
                for column in self._columns
                if column.name in chunk.columns or column.required
            ]
        free = self._free_names(chunk)
        if len(self._columns) == 1 and self._columns[0].type.name == "object" and free != (VALUE,):
            return [(self._columns[0], _records(chunk, free, self._columns[0].type), False)]
        if free == (VALUE,) and len(self._columns) > 1:
            spread = _spread(chunk.columns[VALUE], len(self._columns), faults)
            return [(column, cells, False) for column, cells in zip(self._columns, spread)]
        if len(free) != len(self._columns):
            text = "the model takes %s by position, and `%s` has %d: %s; columns to keep do not count"
            wish = counted(len(self._columns), "column")
            raise BadInput(text % (wish, chunk.source, len(free), names(free)))
        named = [replace(column, name=name) for column, name in zip(self._columns, free)]
        return [(column, chunk.columns[name], textual) for column, name in zip(named, free)]

    def _read(
        self, column: Column, cells: List[Any], textual: bool, faults: Dict[int, Fault]
    ) -> Tuple[Column, List[Any]]:
        """Read the cells of a column; returned with the type that they were read as."""
        values, wrong = read_column(column, cells, textual)
        if wrong and column.guessed and column.type.name == "long":
            # The guess was too narrow, if doubles do.
            wider = replace(column, type=ValueType("double"))
            again, still_wrong = read_column(wider, cells, textual)
            if not still_wrong:
                self._columns = tuple(wider if each == column else each for each in self._columns)
                return wider, again
        for position, reason in wrong.items():
            faults.setdefault(position, Fault(reason + (_GUESSED if column.guessed else ""), column.name))
        return column, values


def _records(chunk: Chunk, free: Sequence[str], kind: ValueType) -> List[Any]:
    """Make one object of each row, for models that take objects."""
    types = {name: each for name, each, _ in kind.properties}
    rows = [{name: chunk.columns[name][position] for name in free} for position in range(chunk.size)]
    if not chunk.textual:
        return rows
    return [{name: _from_text(types.get(name), cell) for name, cell in row.items() if cell} for row in rows]


def _from_text(kind: Optional[ValueType], cell: str) -> Any:
    """Read text as far as that is needed for what it is to be read as JSON."""
    if kind is None or kind.name in ("string", "any", "datetime", "binary"):
        return cell
    try:
        return read_value(kind, cell, True)
    except ValueError:
        return cell  # told of when the object is read


def _spread(cells: List[Any], width: int, faults: Dict[int, Fault]) -> List[List[Any]]:
    """Make columns of rows that are lists."""
    rows = []
    for position, cell in enumerate(cells):
        fits = isinstance(cell, list) and len(cell) == width
        if not fits:
            faults.setdefault(position, Fault("it is no list of %d values" % width))
        rows.append(cell if fits else [None] * width)
    return [list(column) for column in zip(*rows)] if rows else [[] for _ in range(width)]


def _items(column: Column, values: List[Any], positions: List[int]) -> List[Any]:
    items = [values[each] for each in positions]
    if column.type.name != "datetime":
        return items
    times: List[Any] = _series("datetime", items).tolist()
    return times


def _frame(read: List[Tuple[Column, List[Any]]], positions: List[int], size: int) -> Any:
    import pandas

    if len(positions) < size:
        read = [(column, [values[each] for each in positions]) for column, values in read]
    labels = [column.name if column.name is not None else index for index, (column, _) in enumerate(read)]
    series = [_series(column.type.name, values) for column, values in read]
    frame = pandas.DataFrame(dict(enumerate(series)), index=pandas.RangeIndex(len(positions)))
    frame.columns = pandas.Index(labels, dtype=object) if labels else frame.columns
    return frame


def _series(name: str, values: List[Any]) -> Any:
    import numpy
    import pandas

    if name == "datetime":
        numbers = [NOT_A_TIME if value is None else value for value in values]
        return pandas.Series(numpy.array(numbers, dtype="int64").view("M8[ns]"))
    if name == "float":
        with numpy.errstate(over="ignore"):  # a double beyond a float's range becomes infinite
            return pandas.Series(numpy.array(values, dtype="float64").astype("float32"))
    if name in _DTYPES:
        return pandas.Series(numpy.array(values, dtype=_DTYPES[name]))
    if name == "boolean" and None not in values:
        return pandas.Series(values, dtype="bool")
    return pandas.Series(values, dtype=object)
