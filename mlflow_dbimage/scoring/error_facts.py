"""What is known of an exception, as JSON: enough for a reader elsewhere to name the cause in one line."""

from __future__ import annotations

import traceback
from typing import Any, Dict, Iterator, List

_LONGEST = 2000
_DEEPEST = 8
_TRACEBACK_LINES = 40


def error_facts(stage: str, error: BaseException) -> Dict[str, Any]:
    """Describe an exception that ended a stage.

    Returns:
        `stage`, `type`, `message`, `traceback` (its last lines), and `chain`: itself and the exceptions that it
        came from, with what they know besides (`module` that an import lacks, `errno` and `path` of a file).
    """
    chain = [_facts(each) for each in _chain(error)]
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
    return {
        "stage": stage,
        "type": chain[0]["type"],
        "message": chain[0]["message"],
        "traceback": [line[:_LONGEST] for line in lines[-_TRACEBACK_LINES:]],
        "chain": chain,
    }


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: List[int] = []
    following: Any = error
    while following is not None and id(following) not in seen and len(seen) < _DEEPEST:
        yield following
        seen.append(id(following))
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context


def _facts(error: BaseException) -> Dict[str, Any]:
    facts: Dict[str, Any] = {"type": type(error).__name__, "message": _message(error)}
    if isinstance(error, ImportError) and error.name:
        facts["module"] = str(error.name)
    if isinstance(error, OSError):
        if isinstance(error.errno, int):
            facts["errno"] = error.errno
        if isinstance(error.filename, str):
            facts["path"] = error.filename
    return facts


def _message(error: BaseException) -> str:
    try:
        return str(error).strip()[:_LONGEST]
    except Exception:  # a model's own class may do anything
        return ""
