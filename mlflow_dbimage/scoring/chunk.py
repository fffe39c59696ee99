"""A chunk of rows as a file has them, before anything is made of their values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Tuple

#: The only column of rows that are no objects: `[1, 2, 3]` or `"text"` as a line of a JSON lines file.
VALUE = "input"


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be scored."""

    reason: str
    column: Optional[str] = None

    def __str__(self) -> str:
        return self.reason if self.column is None else "column `%s`: %s" % (self.column, self.reason)


@dataclass
class Chunk:
    """Consecutive rows of one file, by column."""

    columns: Dict[str, List[Any]]
    size: int
    """Number of rows."""
    textual: bool
    """Whether all cells are text (CSV)."""
    faults: Dict[int, Fault] = field(default_factory=dict)
    """By position in the chunk: rows that are none."""
    broken: Dict[int, Any] = field(default_factory=dict)
    """What the file has at the positions of `faults`."""
    duplicates: Tuple[str, ...] = ()
    """Names that the file has twice."""
    types: Dict[str, Any] = field(default_factory=dict)
    """Arrow types of the columns, where the file has such."""
    first: int = 1
    """Number of the first row, counted from 1 over all files, headers left out."""
    source: str = ""
    """The file."""

    @property
    def names(self) -> Tuple[str, ...]:
        """The names of the columns, in the file's order."""
        return tuple(self.columns)

    def number(self, position: int) -> int:
        """Return the number of the row at a position."""
        return self.first + position

    def record(self, position: int) -> Any:
        """Return a row as the file has it."""
        if position in self.broken:
            return self.broken[position]
        return {name: cells[position] for name, cells in self.columns.items()}


def chunk_of_rows(rows: List[Any]) -> Chunk:
    """Make a chunk of JSON values; an exception among them is a line that is no JSON.

    Rows are objects, or all are something else, which is then the column `input`: the first row decides.
    """
    sound = [row for row in rows if not isinstance(row, NotJson)]
    objects = not sound or isinstance(sound[0], dict)
    faults: Dict[int, Fault] = {}
    broken: Dict[int, Any] = {}
    for position, row in enumerate(rows):
        if isinstance(row, NotJson):
            faults[position], broken[position] = Fault("the line is no JSON"), row.text
        elif isinstance(row, dict) is not objects:
            wrong = "a JSON object among other values" if not objects else "the line is no JSON object"
            faults[position], broken[position] = Fault(wrong), row
    if not objects:
        cells = [None if position in faults else row for position, row in enumerate(rows)]
        return Chunk({VALUE: cells}, len(rows), False, faults, broken)
    names = _names_in_order(row for row in sound if isinstance(row, dict))
    plain = [{} if position in faults else row for position, row in enumerate(rows)]
    columns = {name: [row.get(name) for row in plain] for name in names}
    return Chunk(columns, len(rows), False, faults, broken)


def _names_in_order(rows: Iterable[Dict[str, Any]]) -> List[str]:
    names: Dict[str, None] = {}
    for row in rows:
        if row.keys() != names.keys():
            names.update(dict.fromkeys(row))
    return list(names)


@dataclass(frozen=True)
class NotJson:
    """Stands for a line that is no JSON."""

    text: str
