"""What uv says when it fails, as one of our errors: shortened, with the model's lines that it is about."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from packaging.utils import canonicalize_name

from mlflow_dbimage.backends.credentials_in_urls import scrubbed
from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import DbimageError, InputError, MatchError, ServiceError, said_of_disk
from mlflow_dbimage.locking.environment_solver import PipRequest

_MOST_LINES = 12
_MOST_WIDTH = 400
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

#: What uv says, in a hint, of an index that wants other credentials.
REFUSED = re.compile(r"\b40[13] (?:Unauth|Forb)")

# Phrases of uv, most telling first: what it is, the code, and what it means. Tested against the real uv.
_KINDS: tuple[tuple[str, type[DbimageError], str, str], ...] = (
    (
        r"network was disabled|not found in the cache|--offline",
        ServiceError,
        "offline",
        "pip packages are needed that the cache lacks, and the network may not be used",
    ),
    (r"Git operation failed", ServiceError, "index-failed", "a git repository cannot be read"),
    (
        rf"Failed to fetch|Request failed|error sending request|Could not connect|{REFUSED.pattern}",
        ServiceError,
        "index-failed",
        "a package index cannot be read",
    ),
    (
        r"[Cc]ouldn't parse|Invalid requirement|Expected |Unexpected |Error parsing|failed to read from file"
        r"|File not found|Distribution not found",
        InputError,
        "model-environment-invalid",
        "uv cannot understand the model's pip lines",
    ),
    (
        r"no wheels with a matching|building from source is disabled|no usable wheels|no wheels for",
        MatchError,
        "wrong-platform",
        "packages have no wheels for the platform",
    ),
    (r"Failed to build", MatchError, "unsolvable", "a source distribution cannot be built"),
    (
        r"was not found in the package registry|there (?:is|are) no versions? of",
        MatchError,
        "package-not-found",
        "no package index has what the model's environment needs",
    ),
    (
        r"No solution found",
        MatchError,
        "unsolvable",
        "no set of pip packages satisfies the model's environment",
    ),
    (r"", ServiceError, "program-failed", "uv failed"),
)

_HINTS = {
    "offline": "build once with the network, or copy the cache of a machine that has",
    "index-failed": "name an index that this machine reaches, or its credentials",
    "wrong-platform": "pin versions that have such wheels, or build on that platform",
    "package-not-found": "change the line, or name the index that has the package",
    "unsolvable": "change one of the lines that contradict each other",
}


def error_of(text: str, request: PipRequest, sent: Sequence[Requirement] = ()) -> DbimageError:
    """Return the error that uv's standard error stands for.

    Args:
        text: Without credentials.
        request: What uv was asked.
        sent: The lines that it read from standard input.
    """
    disk = said_of_disk(text)
    if disk is not None:
        return disk
    reasons = _reasons(text)
    joined = " ".join(reasons)
    _, kind, code, title = next(each for each in _KINDS if re.search(each[0], text))
    lines = dict.fromkeys((*_placed(text, sent), *_named(joined, request.lines)))
    origins = "".join(f"\n  {line.origin}: {scrubbed(line.text)}" for line in lines)
    body = "\n  ".join(reasons)
    return kind(code, f"{title}:\n  {body}{origins}", hint=_HINTS.get(code))


def _reasons(text: str) -> list[str]:
    """Return the telling lines: from the error on, no hints but of refusals, not too many and not too long."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    start = next((index for index, line in enumerate(lines) if line.startswith("error")), 0)
    told = [line for line in lines[start:] if REFUSED.search(line) or not line.lstrip().startswith("hint:")]
    short = [
        line if len(line) <= _MOST_WIDTH else f"{line[:_MOST_WIDTH]}..."
        for line in (re.sub(r"^(?:error|hint|\s*cause): ", "", line) for line in told)
    ]
    if len(short) > _MOST_LINES:
        return [*short[: _MOST_LINES - 4], "...", *short[-3:]]
    return short


def _placed(text: str, sent: Sequence[Requirement]) -> list[Requirement]:
    """Return the lines of standard input whose place the text tells, as line and column or as a position."""
    starts = list(accumulate((len(line.text) + 1 for line in sent), initial=0))
    numbers = [int(number) - 1 for number in re.findall(r"(?<![\w/])-:(\d+):\d+", text)]
    positions = [int(position) for position in re.findall(r"in `-` at position (\d+)", text)]
    numbers += [bisect_right(starts, position) - 1 for position in positions]
    return [sent[number] for number in numbers if 0 <= number < len(sent)]


def _named(text: str, lines: Sequence[Requirement]) -> list[Requirement]:
    """Return the lines whose distribution the text names."""
    words = {canonicalize_name(word.rstrip(".-_")) for word in _NAME.findall(re.sub(r"[=<>!~]=?", " ", text))}
    named = []
    for line in lines:
        match = _NAME.match(line.text)
        if match and canonicalize_name(match.group().rstrip(".-_")) in words:
            named.append(line)
    return named
