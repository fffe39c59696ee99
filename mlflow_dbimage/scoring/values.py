"""One value of a file, read as the type that the signature gives it.

Values come in two forms: text (CSV), and Python's own values (JSON, Parquet). Null is decided before: see
`is_null`. Everything here raises `ValueError`, with a reason that finishes "row 17, column `age`: ...".
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import json
import math
import re
from typing import Any, Callable, Dict, List, Tuple

from .signature import NESTED, Column, ValueType

#: What stands for null in the text of a column that is not a string column; pandas' own list, shortened.
_NULL_TEXTS = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"))
_RANGES = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_ARTICLES = {"integer": "an", "object": "an", "array": "an"}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|[+-]\d\d:?\d\d)?)?$"
)
_EPOCH = datetime.date(1970, 1, 1)
#: What numpy's `datetime64[ns]` has for "not a time", and the range of the others.
NOT_A_TIME = -(2**63)
_LAST_NANOSECOND = 2**63 - 1


def read_column(column: Column, cells: List[Any], textual: bool) -> Tuple[List[Any], Dict[int, str]]:
    """Read all cells of a column.

    Args:
        column: Name and type.
        cells: As they are in the file.
        textual: Whether they are text.

    Returns:
        The values, None for null and for what could not be read (datetimes as nanoseconds since 1970), and by
        position why a cell could not be read.
    """
    quick = _read_quickly(column.type.name, cells, textual)
    if quick is not None:
        return quick, {}
    values: List[Any] = []
    faults: Dict[int, str] = {}
    for position, cell in enumerate(cells):
        try:
            values.append(_read_or_null(column, cell, textual))
        except ValueError as error:
            values.append(None)
            faults[position] = str(error)
    return values, faults


def _read_quickly(name: str, cells: List[Any], textual: bool) -> Any:
    """Read a column of numbers or text that has no surprise; None where it has one."""
    try:
        if name == "string":
            if not textual:
                return cells if all(type(cell) is str for cell in cells) else None
            return [cell or None for cell in cells]
        if name == "double" and _are_numbers(cells, textual, (int, float)):
            return list(map(float, cells))
        if name in _RANGES and _are_numbers(cells, textual, (int,)):
            low, high = _RANGES[name]
            values = list(map(int, cells))
            return values if not values or (min(values) >= low and max(values) <= high) else None
    except (ValueError, OverflowError):
        pass
    return None


def _are_numbers(cells: List[Any], textual: bool, types: Tuple[type, ...]) -> bool:
    if textual:
        return not any("_" in cell for cell in cells)  # Python's `1_000`
    return all(type(cell) in types for cell in cells)


def _read_or_null(column: Column, cell: Any, textual: bool) -> Any:
    if not is_null(cell, column.type.name, textual):
        return read_value(column.type, cell, textual)
    name = column.type.name
    if name in _RANGES or (column.required and (name == "boolean" or name in NESTED)):
        raise ValueError("null in %s" % _column_of(name))
    return None


def is_null(cell: Any, name: str, textual: bool) -> bool:
    """Whether a cell of a column of type `name` holds nothing."""
    if textual:
        return cell == "" if name in ("string", "any") else cell.strip() in _NULL_TEXTS
    return cell is None or (isinstance(cell, float) and math.isnan(cell) and name != "any")


def read_value(kind: ValueType, cell: Any, textual: bool) -> Any:
    """Read a value that is not null.

    Raises:
        ValueError: It is not of that type.
    """
    if kind.name in NESTED:
        return _nested(kind, _json(kind, cell) if textual else cell)
    return _READERS[kind.name](cell, textual)


def _column_of(name: str) -> str:
    return "%s %s column" % (_ARTICLES.get(name, "a"), name)


def shown(cell: Any) -> str:
    """Show a value in a message, shortened."""
    text = cell if isinstance(cell, str) else str(cell)
    return "`%s`" % (text if len(text) <= 40 else text[:40] + "...")


def _wrong(cell: Any, name: str) -> ValueError:
    return ValueError("%s in %s" % (shown(cell), _column_of(name)))


def _read_double(cell: Any, textual: bool) -> float:
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str, decimal.Decimal)):
        raise _wrong(cell, "double")
    try:
        if isinstance(cell, str) and "_" in cell:
            raise ValueError
        return float(cell)
    except (ValueError, OverflowError):
        raise _wrong(cell, "double") from None


def _whole_number(name: str) -> Callable[[Any, bool], int]:
    low, high = _RANGES[name]

    def read(cell: Any, textual: bool) -> int:
        if isinstance(cell, bool) or not isinstance(cell, (int, float, str, decimal.Decimal)):
            raise _wrong(cell, name)
        try:
            if isinstance(cell, str) and "_" in cell:
                raise ValueError
            exact = decimal.Decimal(cell)
            whole = int(exact)
        except (decimal.InvalidOperation, ValueError, OverflowError):
            raise _wrong(cell, name) from None
        if whole != exact:
            raise _wrong(cell, name)
        if not low <= whole <= high:
            raise ValueError("%s is out of the range of %s" % (shown(cell), _column_of(name)))
        return whole

    return read


def _read_boolean(cell: Any, textual: bool) -> bool:
    if isinstance(cell, bool):
        return cell
    text = cell.strip().lower() if isinstance(cell, str) else str(cell) if isinstance(cell, int) else ""
    if text not in _BOOLEANS:
        raise _wrong(cell, "boolean")
    return _BOOLEANS[text]


def _read_string(cell: Any, textual: bool) -> str:
    if not isinstance(cell, str):
        raise ValueError("%s is no text, in a string column" % shown(cell))
    return cell


def _read_binary(cell: Any, textual: bool) -> bytes:
    if isinstance(cell, (bytes, bytearray)):
        return bytes(cell)
    if not isinstance(cell, str):
        raise _wrong(cell, "binary")
    try:
        return base64.b64decode("".join(cell.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("%s is no base64, in a binary column" % shown(cell)) from None


def _read_datetime(cell: Any, textual: bool) -> int:
    """Return nanoseconds since 1970; a time zone is turned into UTC, since MLflow takes none."""
    if isinstance(cell, str):
        match = _DATE.match(cell.strip())
        if match is None:
            raise ValueError("%s is no ISO 8601 date, in a datetime column" % shown(cell))
        year, month, day, hour, minute, second, fraction, zone = match.groups()
        text_parts = (year, month, day, hour or 0, minute or 0, second or 0)
        return _nanoseconds(cell, [int(part) for part in text_parts], int((fraction or "").ljust(9, "0")), zone)
    if isinstance(cell, datetime.datetime):
        zone_offset = cell.utcoffset()
        plain = cell.replace(tzinfo=None) - (zone_offset or datetime.timedelta())
        parts = list(plain.timetuple()[:6])
        return _nanoseconds(cell, parts, plain.microsecond * 1000 + getattr(cell, "nanosecond", 0), None)
    if isinstance(cell, datetime.date):
        return _nanoseconds(cell, [cell.year, cell.month, cell.day, 0, 0, 0], 0, None)
    raise _wrong(cell, "datetime")


def _nanoseconds(cell: Any, parts: List[int], fraction: int, zone: Any) -> int:
    year, month, day, hour, minute, second = parts
    try:
        datetime.time(hour, minute, second)
        days = (datetime.date(year, month, day) - _EPOCH).days
    except ValueError:
        raise ValueError("%s is no date or time that exists, in a datetime column" % shown(cell)) from None
    seconds = days * 86400 + hour * 3600 + minute * 60 + second
    if zone is not None and zone != "Z":
        offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    value = seconds * 10**9 + fraction
    if not NOT_A_TIME < value <= _LAST_NANOSECOND:
        raise ValueError("%s is out of the range of a datetime column (1677 to 2262)" % shown(cell))
    return value


def _read_any(cell: Any, textual: bool) -> Any:
    return cell


_READERS: Dict[str, Callable[[Any, bool], Any]] = {
    "boolean": _read_boolean,
    "integer": _whole_number("integer"),
    "long": _whole_number("long"),
    "float": _read_double,
    "double": _read_double,
    "string": _read_string,
    "binary": _read_binary,
    "datetime": _read_datetime,
    "any": _read_any,
}


def _json(kind: ValueType, cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        raise ValueError("%s is no JSON, in %s" % (shown(cell), _column_of(kind.name))) from None


def _nested(kind: ValueType, value: Any) -> Any:
    if kind.name == "array" and kind.items is not None and isinstance(value, (list, tuple)):
        return [_inner(kind.items, each, "[%d]" % index) for index, each in enumerate(value)]
    if kind.name == "map" and kind.items is not None:
        if isinstance(value, list) and all(isinstance(each, tuple) for each in value):
            value = dict(value)  # a map as Parquet gives it
        if isinstance(value, dict):
            return {str(key): _inner(kind.items, each, "`%s`" % key) for key, each in value.items()}
    if kind.name == "object" and isinstance(value, dict):
        return _object(kind, value)
    raise _wrong(value, kind.name)


def _object(kind: ValueType, value: Dict[str, Any]) -> Dict[str, Any]:
    result = {}
    for name, each, required in kind.properties:
        if value.get(name) is not None:
            result[name] = _inner(each, value[name], "`%s`" % name)
        elif required:
            raise ValueError("the object lacks `%s`" % name)
    unknown = sorted(set(value) - {name for name, _, _ in kind.properties})
    if unknown:
        raise ValueError("the object has the unknown `%s`" % unknown[0])
    return result


def _inner(kind: ValueType, value: Any, place: str) -> Any:
    try:
        if value is None:
            return float("nan") if kind.name in ("double", "float") else None
        read = read_value(kind, value, False)
    except ValueError as error:
        raise ValueError("at %s: %s" % (place, error)) from None
    if kind.name == "datetime":
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=read // 1000)
    return read
