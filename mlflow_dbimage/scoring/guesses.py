"""Types of columns that no signature gives: what pandas would take them for."""

from __future__ import annotations

import datetime
import decimal
from typing import Any, Dict, List, Sequence, Tuple

from .chunk import Chunk
from .signature import Column, ValueType
from .values import is_null

_WORDS = frozenset(("true", "false"))
_KINDS: Dict[str, type] = {"boolean": bool, "string": str, "binary": bytes, "datetime": datetime.date}


def guess_columns(chunk: Chunk, names: Sequence[str]) -> Tuple[Column, ...]:
    """Guess the types of columns from their cells."""
    sound = [position for position in range(chunk.size) if position not in chunk.faults]
    return tuple(
        Column(
            name=name,
            type=ValueType(guess_type([chunk.columns[name][each] for each in sound], chunk.textual)),
            required=False,
            guessed=True,
        )
        for name in names
    )


def guess_type(cells: List[Any], textual: bool) -> str:
    """Guess the type of a column: long, double, boolean, string, datetime, binary or any."""
    held = [cell for cell in cells if not is_null(cell, "double", textual)]
    if not held:
        return "double"
    name = _of_text(held) if textual else _of_values(held)
    if name == "long" and len(held) < len(cells):
        return "double"
    if name == "boolean" and len(held) < len(cells):
        return "any"
    return name


def _of_text(cells: List[str]) -> str:
    if all(cell.strip().lower() in _WORDS for cell in cells):
        return "boolean"
    if any("_" in cell for cell in cells):
        return "string"
    for name, read in (("long", int), ("double", float)):
        try:
            for cell in cells:
                read(cell)
            return name
        except ValueError:
            continue
    return "string"


def _of_values(cells: List[Any]) -> str:
    types = {type(cell) for cell in cells}
    if types == {int}:
        return "long"
    if types <= {int, float, decimal.Decimal}:
        return "double"
    return next((name for name, kind in _KINDS.items() if all(issubclass(each, kind) for each in types)), "any")
