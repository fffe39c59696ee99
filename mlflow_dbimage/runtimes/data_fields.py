"""The fields of a data file: held against what they must be, every problem told, and read.

The files are written by people, with remarks beside versions and dates (`3.7.6 (conda)`); values have none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

_VERSION = re.compile(r"\d+(?:\.\d+)*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

#: Says what is wrong with a value, in words that follow the field's name; None where nothing is.
Check = Callable[[Any], str | None]


def problems(data: Mapping[Any, Any], required: Mapping[str, Check], optional: Mapping[str, Check]) -> list[str]:
    """Return what is wrong with a table: fields that are missing, unknown or not what they must be."""
    known = {**required, **optional}
    found = [f"`{name}` is missing" for name in required if name not in data]
    found += [f"`{name}` is no known field" for name in data if name not in known]
    for name, check in known.items():
        wrong = check(data[name]) if name in data else None
        found += [f"`{name}` {wrong}"] if wrong else []
    return found


def text(value: object) -> str | None:
    """Want a text."""
    return None if isinstance(value, str) and value.strip() else "is not a text"


def text_or_null(value: object) -> str | None:
    """Want a text, or nothing."""
    return None if value is None else text(value)


def flag(value: object) -> str | None:
    """Want true or false."""
    return None if isinstance(value, bool) else "is neither true nor false"


def version_first(value: object) -> str | None:
    """Want a text that begins with a version."""
    if not isinstance(value, str):
        return "is not a text"
    return None if _VERSION.match(value) else "does not begin with a version"


def day_first(value: object) -> str | None:
    """Want a text that begins with a day of the calendar."""
    if not isinstance(value, str):
        return "is not a text"
    try:
        date.fromisoformat(value[:10])
    except ValueError:
        return f"does not begin with a day such as `2026-05-31`: `{value}`"
    return None if _DATE.match(value) else f"does not begin with a day such as `2026-05-31`: `{value}`"


def day_first_or_null(value: object) -> str | None:
    """Want a text that begins with a day, or nothing."""
    return None if value is None else day_first(value)


def texts(value: object) -> str | None:
    """Want a list of texts, which may be empty."""
    return (
        None if isinstance(value, list) and all(isinstance(each, str) for each in value) else "is no list of texts"
    )


def versions(value: object) -> str | None:
    """Want a table of names and versions. Versions are any text: not all are PEP 440 (`0.2.5.db1`)."""
    if isinstance(value, dict) and all(isinstance(part, str) and part for pair in value.items() for part in pair):
        return None
    return "is not a table of names and versions"


def count_problem(data: Mapping[Any, Any]) -> list[str]:
    """Hold `package_count` against the packages, so that a file that lost lines is noticed."""
    packages, count = data.get("packages"), data.get("package_count")
    if not isinstance(packages, dict) or str(count) == str(len(packages)):
        return []
    return [f"`package_count` is {count}, and there are {len(packages)} packages"]


def leading_version(value: str) -> str:
    """Return the version that a text begins with."""
    match = _VERSION.match(value)
    assert match is not None, "`version_first` saw that it matches"
    return match.group()


def leading_day(value: str | None) -> date | None:
    """Return the day that a text begins with."""
    return None if value is None else date.fromisoformat(value[:10])


def frozen(table: Mapping[str, str]) -> Mapping[str, str]:
    """Return a table that cannot be changed."""
    return MappingProxyType(dict(table))
