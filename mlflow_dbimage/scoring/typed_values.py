"""Predictions as JSON that keeps their types, so that two of them can be compared.

JSON has texts, true and false, whole numbers, numbers with a fraction, and null. What it has not is an object:
`{"$float": "nan"}` (or `inf`, `-inf`), `{"$time": ISO 8601}`, `{"$bytes": base64}`, `{"$decimal": "1.10"}`, and
`{"$text": ..., "$type": ...}` for a value of a class that is none of these. A null of pandas (`NaT`, `<NA>`) is
null; NaN is a number.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from typing import Any, Callable, List, Tuple

from .predictions import Predictions

#: What a column is called whose values are Python's own.
_PYTHON_TYPES: Tuple[Tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "int64"),
    (float, "float64"),
    (str, "string"),
    (bytes, "binary"),
    (datetime.date, "datetime"),
    (list, "list"),
    (dict, "object"),
)


def types_of(answer: Any, predictions: Predictions) -> List[str]:
    """Name the type of each column of predictions.

    Args:
        answer: What the model returned.
        predictions: What was made of it.

    Returns:
        What numpy calls it where the answer is of arrays or a frame (`float32`); else by the values: `boolean`,
        `int64`, `float64`, `string`, `binary`, `datetime`, `list`, `object`, or `mixed`.
    """
    return [
        _array_type(answer, name, index) or _type_of_values(values)
        for index, (name, values) in enumerate(predictions.columns.items())
    ]


def _array_type(answer: Any, name: str, index: int) -> str:
    """Name the type that an array or frame has itself; nothing where it has none, or any."""
    if hasattr(answer, "columns") and hasattr(answer, "iloc"):
        answer = answer.iloc[:, index]
    elif isinstance(answer, dict):
        answer = next((value for key, value in answer.items() if str(key) == name), None)
    found = str(getattr(answer, "dtype", "object"))
    plain = {"bool": "boolean", "object": "", "category": "", "str": "string"}
    return plain.get(found, "datetime" if found.startswith("datetime") else found.lower())


def _type_of_values(values: List[Any]) -> str:
    found = {_type_of_value(each) for each in values if each is not None}
    return found.pop() if len(found) == 1 else "mixed"


def _type_of_value(value: Any) -> str:
    named = next((name for kind, name in _PYTHON_TYPES if isinstance(value, kind)), None)
    if named is not None:
        return named
    return str(getattr(value, "dtype", type(value).__name__))


def typed_rows(predictions: Predictions, limit: int) -> List[List[Any]]:
    """Write the first rows of predictions."""
    columns = [[typed(cell) for cell in cells[:limit]] for cells in predictions.columns.values()]
    return [list(row) for row in zip(*columns)]


def typed(value: Any) -> Any:
    """Write one value."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, dict):
        return {str(key): typed(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [typed(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((typed(each) for each in value), key=repr)
    return None if str(value) in ("NaT", "<NA>") else _typed_other(value)


def _typed_other(value: Any) -> Any:
    for kinds, name, write in _WRITERS:
        if isinstance(value, kinds):
            return {name: write(value)}
    if hasattr(value, "tolist") and value.dtype.kind not in "mM":
        return typed(value.tolist())
    if hasattr(value, "model_dump"):
        return typed(value.model_dump())
    return {"$text": str(value), "$type": type(value).__name__}


def _base64(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode("ascii")


def _iso(value: Any) -> str:
    return str(value.isoformat())


_WRITERS: Tuple[Tuple[Any, str, Callable[[Any], str]], ...] = (
    ((bytes, bytearray), "$bytes", _base64),
    ((datetime.date, datetime.time), "$time", _iso),
    (decimal.Decimal, "$decimal", str),
)
