"""One run of an image: what to score, and what came of it.

The image's own scoring program does the work (`scoring`); a runner starts it, in a container or from the
unpacked layers of the image. What its exit codes mean is in `docs/scoring.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from mlflow_dbimage.errors import DbimageError, InputError, ServiceError, UsageError, VerificationError
from mlflow_dbimage.oci.image import Image

#: How a run was made: in a container of the Docker engine, or from the image's layers, unpacked on this machine.
How = Literal["engine", "unpacked"]

_SUMMARY = re.compile(r"^read (\d+) rows, scored (\d+), rejected (\d+), in [\d.]+ s$", re.MULTILINE)
_ERROR = re.compile(r"^error: (.*)$", re.MULTILINE)
_LAST_LINES = 5

#: How many of the lines that a scoring program and its model write are kept in memory.
KEPT_LINES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """What to score, and where the results go."""

    input: Path
    """A file or a folder of part files."""
    output: Path
    keep: tuple[str, ...] = ()
    """Columns of the input to write before the predictions."""
    params: Mapping[str, object] = field(default_factory=dict)
    rejects: Path | None = None
    """Where rows go that cannot be scored; without it they are an error."""
    input_format: str | None = None
    output_format: str | None = None

    def arguments(self, places: Mapping[Path, str]) -> tuple[str, ...]:
        """Return the arguments of the scoring program.

        Args:
            places: Where the program finds `input`, `output` and `rejects`.
        """
        arguments = ["--input", places[self.input], "--output", places[self.output]]
        for column in self.keep:
            quoted = column.replace('"', '""')
            arguments += ["--keep", f'"{quoted}"']
        if self.params:
            arguments += ["--params", json.dumps(dict(self.params))]
        if self.rejects is not None:
            arguments += ["--rejects", places[self.rejects]]
        for side, form in (("input", self.input_format), ("output", self.output_format)):
            if form is not None:
                arguments += [f"--{side}-format", form]
        return tuple(arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the scoring program ended."""

    exit_code: int
    messages: str
    """The last of what it and the model wrote to standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRun:
    """A run that scored."""

    how: How
    output: Path
    rows: int
    """Of the input."""
    scored: int
    rejected: int


class Runner(Protocol):
    """Starts the scoring program of images."""

    @property
    def how(self) -> How:
        """How it starts it."""

    @property
    def remark(self) -> str | None:
        """What who runs an image should know of how that is kept apart from this machine; else None."""

    def score(self, image: Image, request: ScoreRequest, report: Callable[[str], None]) -> Ended:
        """Run the program to its end; each line that it writes is reported at once.

        The files of the request exist only if the program ended with 0.
        """


def run(
    image: Image, request: ScoreRequest, runner: Runner, report: Callable[[str], None] = lambda line: None
) -> ImageRun:
    """Score a file with an image.

    Raises:
        UsageError: `bad-value`, the image's model does not take what was asked for.
        InputError: `scoring-input`, the rows do not fit the model; `model-stopped`, it used more than it may.
        VerificationError: `scoring-failed`, the model did not load or predict.
        ServiceError: `disk-failed`, the output could not be written; and what the runner raises.
    """
    if not request.input.exists():
        raise InputError("scoring-input", f"no such file: `{request.input}`")
    ended = runner.score(image, request, report)
    summary = _SUMMARY.findall(ended.messages)
    if ended.exit_code != 0 or not summary:
        raise _error(ended)
    rows, scored, rejected = map(int, summary[-1])
    return ImageRun(how=runner.how, output=request.output, rows=rows, scored=scored, rejected=rejected)


def _error(ended: Ended) -> DbimageError:
    reasons = _ERROR.findall(ended.messages)
    if not reasons:
        last = "\n".join(ended.messages.strip().splitlines()[-_LAST_LINES:])
        message = f"the image's scoring program ended with {ended.exit_code} and gave no reason"
        return VerificationError("scoring-failed", f"{message}; it wrote:\n{last}" if last else message)
    reason = reasons[-1]
    if ended.exit_code == 2:
        return UsageError("bad-value", reason)
    if ended.exit_code == 3:
        return InputError("scoring-input", reason, hint="set such rows aside by naming a file for rejects")
    if ended.exit_code == 5:
        return ServiceError("disk-failed", reason)
    return VerificationError("scoring-failed", reason)
