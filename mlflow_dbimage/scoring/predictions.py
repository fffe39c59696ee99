"""What models return, as columns of plain values.

| the model returns | columns |
| --- | --- |
| a DataFrame | its own |
| a Series, a one-dimensional array, a list of values | `prediction` |
| a two-dimensional array | `prediction_0`, `prediction_1`, ... |
| an array of more dimensions, a list of lists | `prediction`, with lists |
| a list of dicts | their keys |
| a dict of arrays | its keys |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

from .failures import PredictFailed, counted

PREDICTION = "prediction"


@dataclass(frozen=True)
class Predictions:
    """Predictions for consecutive rows."""

    columns: Dict[str, List[Any]]
    size: int


def read_predictions(answer: Any, size: int) -> Predictions:
    """Make columns of what a model returned for so many rows.

    Raises:
        PredictFailed: It is nothing that belongs to rows, or to another number of them.
    """
    if hasattr(answer, "toarray") and hasattr(answer, "nnz"):
        answer = answer.toarray()  # a sparse matrix
    columns = _columns(answer, size)
    for name, values in columns.items():
        if len(values) != size:
            what = counted(len(values), "prediction") + ("" if len(columns) == 1 else " in `%s`" % name)
            raise PredictFailed("the model returned %s for %s" % (what, counted(size, "row")))
    return Predictions(columns, size)


def _columns(answer: Any, size: int) -> Dict[str, List[Any]]:
    if hasattr(answer, "columns") and hasattr(answer, "iloc"):
        return _frame_columns(answer)
    if hasattr(answer, "iloc"):
        return {PREDICTION: answer.tolist()}
    if hasattr(answer, "ndim") and hasattr(answer, "tolist"):
        return _array_columns(answer)
    if isinstance(answer, dict):
        return _dict_columns(answer, size)
    if isinstance(answer, (list, tuple)) or hasattr(answer, "__next__"):
        return _list_columns(list(answer))
    raise PredictFailed("the model returned %s, not a table, array or list" % type(answer).__name__)


def _frame_columns(frame: Any) -> Dict[str, List[Any]]:
    names = [_label(label) for label in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PredictFailed("the model returned the column `%s` twice" % twice[0])
    return {name: frame.iloc[:, index].tolist() for index, name in enumerate(names)}


def _label(label: Any) -> str:
    return "_".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _array_columns(array: Any) -> Dict[str, List[Any]]:
    if array.dtype.kind in "mM":
        array = array.astype("%s8[us]" % array.dtype.kind)  # nanoseconds have no Python value
    if array.ndim == 0:
        return {PREDICTION: [array.tolist()]}
    if array.ndim == 2:
        return {"%s_%d" % (PREDICTION, index): array[:, index].tolist() for index in range(array.shape[1])}
    return {PREDICTION: array.tolist()}


def _dict_columns(answer: Dict[Any, Any], size: int) -> Dict[str, List[Any]]:
    columns = {}
    for key, values in answer.items():
        plain = values.tolist() if hasattr(values, "tolist") else values
        columns[_label(key)] = list(plain) if isinstance(plain, (list, tuple)) else [plain]
    if not columns:
        raise PredictFailed("the model returned an empty dict for %d rows" % size)
    return columns


def _list_columns(answer: List[Any]) -> Dict[str, List[Any]]:
    if not answer or not all(isinstance(each, dict) for each in answer):
        return {PREDICTION: answer}
    names: Dict[str, None] = {}
    for each in answer:
        names.update(dict.fromkeys(map(str, each)))
    rows = [{str(key): value for key, value in each.items()} for each in answer]
    return {name: [row.get(name) for row in rows] for name in names}


def join(parts: Sequence[Predictions]) -> Predictions:
    """Put predictions one after the other; a column that one part lacks is null there."""
    names: Dict[str, None] = {}
    for part in parts:
        names.update(dict.fromkeys(part.columns))
    columns: Dict[str, List[Any]] = {name: [] for name in names}
    for part in parts:
        for name in names:
            columns[name].extend(part.columns.get(name) or [None] * part.size)
    return Predictions(columns, sum(part.size for part in parts))
