"""When two values that a model predicted count as equal.

Numbers with a fraction may differ a little, by type: another processor, another number of threads or another build
of a linear algebra library adds them in another order. Everything else is equal or it is not. The same rule holds
for two runs in the image (`self_check`) and for the image against its reference (`prediction_comparison`).
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

#: By type of the column: the relative and the absolute difference that are allowed; one of them is enough.
#: 1e-7 is what `numpy.testing.assert_allclose` takes; half and single precision have 3 and 7 digits, of which sums
#: over a network's weights lose some.
TOLERANCES = {"float64": (1e-7, 1e-10), "float32": (1e-4, 1e-6), "float16": (1e-2, 1e-3)}


class FirstDifference(NamedTuple):
    """Where two tables differ first, row by row."""

    row: int
    """Counted from 0."""
    column: int
    first: Any
    second: Any


def first_difference(
    types: Sequence[str], first: Sequence[Sequence[Any]], second: Sequence[Sequence[Any]]
) -> Optional[FirstDifference]:
    """Find the first cell that differs, of two tables with equally many rows and columns.

    Args:
        types: Of the columns, as `typed_values` names them.
        first: Rows of values in the form of `typed_values`.
        second: The same.
    """
    for row, (left, right) in enumerate(zip(first, second)):
        for column, kind in enumerate(types):
            if not are_close(kind, left[column], right[column]):
                return FirstDifference(row, column, left[column], right[column])
    return None


def are_close(kind: str, first: Any, second: Any) -> bool:
    """Whether two values of a column of that type count as equal."""
    if isinstance(first, bool) or isinstance(second, bool) or first is None or second is None:
        return first is second
    if isinstance(first, float) and isinstance(second, float):
        return _numbers_are_close(kind, first, second)
    if isinstance(first, list) and isinstance(second, list):
        return _lists_are_close(kind, first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return _dicts_are_close(kind, first, second)
    return type(first) is type(second) and bool(first == second)


def _numbers_are_close(kind: str, first: float, second: float) -> bool:
    relative, absolute = TOLERANCES.get(kind, TOLERANCES["float64"])
    return math.isclose(first, second, rel_tol=relative, abs_tol=absolute)


def _lists_are_close(kind: str, first: List[Any], second: List[Any]) -> bool:
    return len(first) == len(second) and all(are_close(kind, left, right) for left, right in zip(first, second))


def _dicts_are_close(kind: str, first: Dict[str, Any], second: Dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(are_close(kind, first[name], second[name]) for name in first)
