"""JSON files that are one value: what MLflow's scoring server takes, and plain lists of records.

Source of the forms: `mlflow/pyfunc/scoring_server/__init__.py` (`dataframe_split`, `dataframe_records`,
`instances`, `inputs`, beside them `params`), and MLflow's input examples (`input_example.json` is a split
frame without a wrapper). The whole file is held in memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, TextIO

from .failures import BadInput

_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_FORMS = "a list of records, a record, or an object with one of " + ", ".join(_KEYS)


@dataclass(frozen=True)
class Body:
    """The rows of a body, and the parameters that came with them."""

    rows: List[Any]
    params: Optional[Dict[str, Any]] = None


def read_body(stream: TextIO) -> Body:
    """Read a JSON file.

    Raises:
        BadInput: It is no JSON, or of no known form.
    """
    try:
        data = json.load(stream)
    except ValueError as error:
        hint = "; one value a line is the format jsonl" if "Extra data" in str(error) else ""
        raise BadInput("it is no JSON: %s%s" % (error, hint)) from error
    return parse_body(data)


def parse_body(data: Any) -> Body:
    """Read a body that is parsed.

    Raises:
        BadInput: It is of no known form.
    """
    if isinstance(data, list):
        return Body(data)
    if not isinstance(data, dict):
        raise BadInput("it holds neither %s" % _FORMS)
    keys = [key for key in _KEYS if key in data]
    if len(keys) > 1:
        raise BadInput("it has both `%s` and `%s`" % (keys[0], keys[1]))
    if not keys:
        split = {"columns", "data"} <= set(data) <= {"columns", "data", "index"}
        return Body(_split_rows(data) if split else [data])
    params = data.get("params")
    if params is not None and not isinstance(params, dict):
        raise BadInput("its `params` are no JSON object")
    return Body(_rows_of(keys[0], data[keys[0]]), params)


def _rows_of(key: str, value: Any) -> List[Any]:
    if key == "dataframe_split":
        return _split_rows(value)
    if isinstance(value, list):
        return value
    if key == "dataframe_records":
        raise BadInput("its `%s` is no list of records" % key)
    if isinstance(value, dict) and value and _are_columns(value):
        return [dict(zip(value, cells)) for cells in zip(*value.values())]
    return [value]


def _are_columns(value: Dict[str, Any]) -> bool:
    lengths = {len(cells) if isinstance(cells, list) else -1 for cells in value.values()}
    return len(lengths) == 1 and lengths != {-1}


def _split_rows(value: Any) -> List[Any]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise BadInput("its split frame has no list `data`")
    rows: List[Any] = value["data"]
    columns = value.get("columns")
    if columns is None:
        return rows
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise BadInput("its split frame has rows that are not as long as `columns`")
    return [dict(zip(map(str, columns), row)) for row in rows]
