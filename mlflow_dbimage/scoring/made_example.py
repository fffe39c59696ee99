"""An example for a model that was logged without one: two rows made of its signature.

It says whether the model runs, not whether it predicts well: a model may rightly refuse values that mean nothing.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from .chunk import VALUE
from .signature import Signature, Tensor, ValueType

_ROWS = 2
_VALUES: Dict[str, Any] = {
    "boolean": False,
    "integer": 1,
    "long": 1,
    "float": 1.0,
    "double": 1.0,
    "string": "a",
    "binary": "YQ==",
    "datetime": "2000-01-01T00:00:00",
}


def made_rows(signature: Signature) -> Optional[List[Any]]:
    """Make rows as a JSON body has them; None where the model does not say what it takes."""
    if not signature.given:
        return None
    row = _tensor_row(signature) if signature.tensors else _column_row(signature)
    return [row for _ in range(_ROWS)]


def _column_row(signature: Signature) -> Any:
    if signature.names is None:
        values = [_value(each.type) for each in signature.columns]
        return values if len(values) > 1 else values[0]
    return {str(each.name): _value(each.type) for each in signature.columns}


def _tensor_row(signature: Signature) -> Any:
    row = {each.name or VALUE: _array(each, each.shape[1:]) for each in signature.tensors}
    return row if len(row) > 1 or signature.tensors[0].name else row[VALUE]


def _array(tensor: Tensor, shape: Any) -> Any:
    if not shape:
        return "a" if tensor.dtype == "str" else 1
    return [_array(tensor, shape[1:]) for _ in range(max(shape[0], 1))]


def _value(kind: ValueType) -> Any:
    if kind.name == "array" and kind.items is not None:
        return [_value(kind.items)]
    if kind.name == "map" and kind.items is not None:
        return {"a": _value(kind.items)}
    if kind.name == "object":
        return {name: _value(each) for name, each, _ in kind.properties}
    return _VALUES.get(kind.name)
