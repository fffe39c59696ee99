"""What a model says of its inputs, outputs and parameters, as its MLmodel file has it.

Source of the form: `mlflow/models/signature.py` and `mlflow/types/schema.py`, 1.13 to 3.17. Its `inputs`,
`outputs` and `params` are JSON texts inside the YAML. 1.13 knows `name` and `type` alone; tensors, `optional`,
`required`, `params`, and then arrays, objects and maps came later.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from .failures import BadModel, one_line

#: The types that hold one value.
SCALARS = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime")
#: The types that are nested: JSON in a CSV cell.
NESTED = ("array", "object", "map")


@dataclass(frozen=True)
class ValueType:
    """The type of a value: one of `SCALARS` or `NESTED`, or `any` for what newer MLflows add."""

    name: str
    items: Optional["ValueType"] = None
    """Of an array's items or a map's values."""
    properties: Tuple[Tuple[str, "ValueType", bool], ...] = ()
    """Of an object: name, type, and whether it must be there."""


@dataclass(frozen=True)
class Column:
    """A column that the model takes or gives."""

    name: Optional[str]
    """None where the signature goes by position."""
    type: ValueType
    required: bool = True
    guessed: bool = False
    """Whether the type was taken from the first rows, not from a signature."""


@dataclass(frozen=True)
class Tensor:
    """An array that the model takes or gives; its first dimension is the rows."""

    name: Optional[str]
    dtype: str
    """As numpy names it."""
    shape: Tuple[int, ...]
    """-1 where any length fits."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of `predict`."""

    name: str
    type: ValueType
    default: Any
    is_list: bool


@dataclass(frozen=True)
class Signature:
    """What the model takes and gives. At most one of `columns` and `tensors` is not empty."""

    columns: Tuple[Column, ...] = ()
    tensors: Tuple[Tensor, ...] = ()
    outputs: Tuple[str, ...] = ()
    """Names of the columns that the model says it gives; empty where it says none."""
    parameters: Tuple[Parameter, ...] = ()
    takes_list: bool = False
    """Whether `predict` is typed to take a list of values or records (MLflow 2.20), not a frame."""
    raw: Dict[str, Any] = field(default_factory=dict, compare=False)
    """`inputs`, `outputs` and `params` as the file has them."""

    @property
    def given(self) -> bool:
        """Whether the model says what it takes."""
        return bool(self.columns or self.tensors)

    @property
    def names(self) -> Optional[Tuple[str, ...]]:
        """The names of all inputs, or None where they go by position."""
        every = [each.name for each in self.columns] + [each.name for each in self.tensors]
        named = tuple(name for name in every if name is not None)
        return named if named and len(named) == len(every) else None


@dataclass(frozen=True)
class ModelFile:
    """What we need of an MLmodel file."""

    directory: str
    signature: Signature
    mlflow_version: Optional[str]
    loader_module: Optional[str]


def read(directory: str) -> ModelFile:
    """Read the MLmodel file of a model.

    Raises:
        BadModel: There is none, or it is not understood.
    """
    path = os.path.join(directory, "MLmodel")
    try:
        import yaml

        with open(path, "rb") as stream:
            data = yaml.safe_load(stream)
        version = data.get("mlflow_version")
        pyfunc = (data.get("flavors") or {}).get("python_function") or {}
        return ModelFile(
            directory=directory,
            signature=_signature(data.get("signature") or {}, bool(data.get("is_signature_from_type_hint"))),
            mlflow_version=None if version is None else str(version),
            loader_module=pyfunc.get("loader_module"),
        )
    except FileNotFoundError as error:
        raise BadModel("no model in `%s`: it has no file `MLmodel`" % directory) from error
    except Exception as error:  # whatever a broken file or library says, the model does not load
        raise BadModel("cannot read `%s`: %s" % (path, one_line(error))) from error


def _signature(data: Dict[str, Any], from_type_hint: bool) -> Signature:
    raw = {key: _decoded(data.get(key)) for key in ("inputs", "outputs", "params")}
    inputs = raw["inputs"] or []
    return Signature(
        columns=tuple(_column(each) for each in inputs if each["type"] != "tensor"),
        tensors=tuple(_tensor(each) for each in inputs if each["type"] == "tensor"),
        outputs=tuple(str(each["name"]) for each in raw["outputs"] or [] if each.get("name") is not None),
        parameters=tuple(_parameter(each) for each in raw["params"] or []),
        takes_list=from_type_hint and len(inputs) == 1,
        raw=raw,
    )


def _decoded(text: Any) -> List[Dict[str, Any]]:
    value = json.loads(text) if isinstance(text, str) else text
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("the signature is not a list of columns")
    return value


def _column(data: Dict[str, Any]) -> Column:
    name = data.get("name")
    return Column(name=None if name is None else str(name), type=value_type(data), required=_required(data))


def _required(data: Dict[str, Any]) -> bool:
    return bool(data.get("required", not data.get("optional", False)))


def value_type(data: Dict[str, Any]) -> ValueType:
    """Read a type as MLflow writes it: `{"type": "array", "items": {"type": "long"}}`."""
    name = data["type"]
    if name == "array":
        return ValueType("array", items=value_type(data["items"]))
    if name == "sparkml_vector":
        return ValueType("array", items=ValueType("double"))
    if name == "map":
        return ValueType("map", items=value_type(data["values"]))
    if name == "object":
        properties = sorted((data.get("properties") or {}).items())
        return ValueType(
            "object", properties=tuple((key, value_type(each), _required(each)) for key, each in properties)
        )
    return ValueType(name if name in SCALARS else "any")


def _tensor(data: Dict[str, Any]) -> Tensor:
    spec = data["tensor-spec"]
    shape = tuple(int(length) for length in spec["shape"])
    return Tensor(name=data.get("name"), dtype=str(spec["dtype"]), shape=shape)


def _parameter(data: Dict[str, Any]) -> Parameter:
    return Parameter(
        name=str(data["name"]),
        type=value_type(data),
        default=data.get("default"),
        is_list=data.get("shape") is not None,
    )
