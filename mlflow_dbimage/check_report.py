"""What a model's self-check said: the JSON object of `score --check`, read with care.

A model's own code ran in the process that wrote it, so it is held to its form before anything is made of it.
`docs/verification.md` describes the fields; `scoring.self_check` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Deepest nesting of a predicted value; what compares values goes down into them.
_DEEPEST = 64
_VERSION = 1
#: `example` of a report whose example was made from the model's signature.
MADE_EXAMPLE = "signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A table that a model predicted, in the form of `scoring.typed_values`."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    row_count: int
    """Of the whole; `rows` are at most the first thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An exception."""

    type: str
    message: str
    module: str | None = None
    """That an import did not find."""
    errno: int | None = None
    path: str | None = None
    """Of a file that the operating system refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckError:
    """What ended a self-check early."""

    stage: str
    """`import` of MLflow, `load`, `input` or `predict`."""
    chain: tuple[Raised, ...]
    """The exception, then those that it came from."""
    traceback: tuple[str, ...]
    """Its last lines."""

    def __str__(self) -> str:
        first = self.chain[0]
        text = " ".join(first.message.split())
        return f"{first.type}: {text}" if text else first.type


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTime:
    """How long the modules of a package took to import."""

    package: str
    seconds: float
    """With all that it imported first."""
    own_seconds: float
    """Without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a model's self-check said."""

    python: str
    directory: str
    """Of the model, where it was checked."""
    watched: bool
    """Whether attempts to use the network, or to write into that directory, were seen (Python 3.8)."""
    load_seconds: float | None
    predict_seconds: float | None
    peak_memory: int
    """Bytes, before the rest of the requirements was imported."""
    loaded_size: int
    """Bytes of the files of all modules and shared libraries that the model loaded."""
    imports: tuple[ImportTime, ...]
    """The slowest packages, by their own time."""
    modules: Mapping[str, str | None]
    """By requirement: None if it can be imported, else why not."""
    distributions: Mapping[str, str]
    """Every installed distribution and its version, by normal name."""
    network: tuple[str, ...]
    """Machines that the model tried to reach."""
    writes: tuple[str, ...]
    """Files in its own directory that it tried to write."""
    example: str | None
    """Where the rows came from: a file of the model, `signature`, or None where there were none."""
    predictions: Predictions | None
    repeated: str | None
    """None where a second call gave the same, else the difference in words."""
    error: CheckError | None

    @classmethod
    def from_dict(cls, document: Any) -> CheckReport:
        """Read what `score --check` wrote, as parsed JSON.

        Raises:
            ValueError: It is no report, or of a version that is not known.
        """
        try:
            if document["version"] != _VERSION:
                raise ValueError(f"a report of version {document['version']}, and {_VERSION} is known")
            return cls(
                python=str(document["python"]),
                directory=str(document["directory"]),
                watched=bool(document["watched"]),
                load_seconds=_seconds(document["load_seconds"]),
                predict_seconds=_seconds(document["predict_seconds"]),
                peak_memory=int(document["peak_memory"]),
                loaded_size=int(document["loaded_size"]),
                imports=tuple(_import_time(each) for each in document["imports"]),
                modules={str(name): _text(why) for name, why in document["modules"].items()},
                distributions={str(name): str(each) for name, each in document["distributions"].items()},
                network=tuple(map(str, document["network"])),
                writes=tuple(map(str, document["writes"])),
                example=_text(document["example"]),
                predictions=_predictions(document["predictions"]),
                repeated=_repeated(document["repeated"]),
                error=_error(document["error"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not the report of a self-check: {type(error).__name__}: {error}") from None


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _import_time(data: Any) -> ImportTime:
    return ImportTime(
        package=str(data["module"]), seconds=float(data["seconds"]), own_seconds=float(data["own_seconds"])
    )


def _predictions(data: Any) -> Predictions | None:
    if data is None:
        return None
    columns = tuple(map(str, data["columns"]))
    types = tuple(map(str, data["types"]))
    rows = tuple(tuple(row) for row in data["rows"])
    if any(_depth(cell) > _DEEPEST for row in rows for cell in row):
        raise ValueError(f"predictions that are nested more than {_DEEPEST} deep")
    if len(types) != len(columns) or any(len(row) != len(columns) for row in rows):
        raise ValueError("predictions whose rows are not as long as their columns")
    return Predictions(columns=columns, types=types, rows=rows, row_count=int(data["row_count"]))


def _depth(value: Any) -> int:
    """Count how deep a value is nested, without going deep into this function."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [
            each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))
        ]
        level = [one for each in inner for one in each]
    return depth


def _repeated(data: Any) -> str | None:
    if data is None or data == "same":
        return None
    place = "" if data["row"] is None else f"row {int(data['row']) + 1}, column `{data['column']}`: "
    return f"{place}{shown(data['first'])}, then {shown(data['second'])}"


def _error(data: Any) -> CheckError | None:
    if data is None:
        return None
    chain = tuple(
        Raised(
            type=str(each["type"]),
            message=str(each["message"]),
            module=_text(each.get("module")),
            errno=each["errno"] if isinstance(each.get("errno"), int) else None,
            path=_text(each.get("path")),
        )
        for each in data["chain"]
    )
    if not chain:
        raise ValueError("an error without an exception")
    return CheckError(stage=str(data["stage"]), chain=chain, traceback=tuple(map(str, data["traceback"])))


def shown(value: Any) -> str:
    """Show a predicted value in one line, shortened."""
    try:
        return _in_a_line(value)
    except RecursionError:
        return "a value that is nested too deeply"


def _in_a_line(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        if name.startswith("$"):
            return _in_a_line(inner)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "..."
