"""A scoring job: the order of its steps."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Tuple

from .chunk import Chunk, Fault
from .failures import BadInput, BadOutput, BadRequest, counted, names
from .inputs import InputMaker, ModelInput
from .model import Model, Scorer, check_params
from .outputs import AsideFile, plain_value, writer_of
from .predictions import PREDICTION, Predictions
from .rows import STREAM, Rows, format_of
from .signature import ModelFile, read

CHUNK_ROWS = 10_000
_SECONDS_BETWEEN_REPORTS = 10.0


@dataclass(frozen=True)
class ScoreJob:
    """What to score, with what, and where the results go."""

    model: str
    """Folder of the model."""
    input: str
    """A file, a folder, a glob pattern, or `-`."""
    output: str
    """A file, or `-`."""
    input_format: Optional[str] = None
    output_format: Optional[str] = None
    keep: Tuple[str, ...] = ()
    """Columns of the input to write before the predictions."""
    params: Dict[str, Any] = field(default_factory=dict)
    rejects: Optional[str] = None
    """A file for the rows that cannot be scored; without it they end the job."""
    chunk_rows: int = CHUNK_ROWS


@dataclass(frozen=True)
class Outcome:
    """What came of a job, in rows."""

    read: int
    scored: int
    rejected: int
    seconds: float

    def __str__(self) -> str:
        form = "read %d rows, scored %d, rejected %d, in %.1f s"
        return form % (self.read, self.scored, self.rejected, self.seconds)


def run(job: ScoreJob, stdout: IO[bytes], report: Callable[[str], None]) -> Outcome:
    """Score all rows of the input.

    Args:
        job: What to do.
        stdout: Where the output `-` goes.
        report: Told how far it is, now and then.

    Raises:
        ScoringFailure: The job cannot be done; its output has not been written then.
    """
    started = time.monotonic()
    _check(job)
    file = read(job.model)
    rows = Rows(job.input, job.input_format, job.chunk_rows)
    params = check_params({**rows.params, **job.params}, file)
    with _Results(job, rows, file, stdout) as results:
        maker = InputMaker(file.signature, job.keep)
        scorer: Optional[Scorer] = None
        spoken = started
        for chunk in rows.chunks(maker.wanted):
            made = maker.make(chunk)
            results.refuse(chunk, made.faults)
            if scorer is None:  # only now: loading takes longer than to see that a column is missing
                scorer = Scorer(Model(file, params), job.rejects is not None)
            predictions = scorer.score(made, chunk.first)
            results.add(chunk, made, predictions)
            if time.monotonic() - spoken > _SECONDS_BETWEEN_REPORTS:
                spoken = time.monotonic()
                report("%d rows so far" % results.read)
        if scorer is None:
            Model(file, params)
        results.publish()
        return Outcome(results.read, results.scored, results.rejected, time.monotonic() - started)


def _check(job: ScoreJob) -> None:
    if job.chunk_rows < 1:
        raise BadRequest("a chunk has at least one row, not %d" % job.chunk_rows)
    if job.rejects == STREAM:
        raise BadRequest("rejected rows go to a file, not to the standard output")
    if job.rejects is not None and os.path.abspath(job.rejects) == os.path.abspath(job.output):
        raise BadRequest("the output and the rejected rows cannot be one file: `%s`" % job.rejects)


def _output_format(job: ScoreJob, input_format: str) -> str:
    if job.output_format is not None:
        form = job.output_format
    elif job.output == STREAM:
        form = "csv" if input_format == "csv" else "jsonl"
    else:
        found = format_of(job.output)
        if found is None:
            raise BadRequest("the name `%s` does not tell its format: give --output-format" % job.output)
        form = found
    if form == "parquet" and job.output == STREAM:
        raise BadRequest("Parquet cannot be written to the standard output: name a file")
    return form


class _Results:
    """The output and the rejected rows, which appear together or not at all."""

    def __init__(self, job: ScoreJob, rows: Rows, file: ModelFile, stdout: IO[bytes]) -> None:
        self._job = job
        self._several = len(rows.files) > 1
        self._outputs = file.signature.outputs
        self.read = self.scored = self.rejected = 0
        form = _output_format(job, rows.form)
        with ExitStack() as stack:
            self._output = AsideFile(None, stdout) if job.output == STREAM else AsideFile(job.output)
            stack.callback(self._output.discard)
            self._writer = writer_of(form, self._output.stream)
            self._rejects = None if job.rejects is None else AsideFile(job.rejects)
            if self._rejects is not None:
                stack.callback(self._rejects.discard)
            self._stack = stack.pop_all()

    def __enter__(self) -> _Results:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def refuse(self, chunk: Chunk, faults: Dict[int, Fault]) -> None:
        """End the job if there are faults, and no file for them."""
        if not faults or self._rejects is not None:
            return
        first = min(faults)
        place = " of `%s`" % chunk.source if self._several else ""
        more = " (and %s of the same chunk)" % counted(len(faults) - 1, "more row") if len(faults) > 1 else ""
        separator = ", " if faults[first].column is not None else ": "
        raise BadInput("row %d%s%s%s%s" % (chunk.number(first), place, separator, faults[first], more))

    def add(self, chunk: Chunk, made: ModelInput, predictions: Predictions) -> None:
        """Write the predictions of a chunk, and its rows that could not be scored."""
        with _writing(self._job.output):
            if predictions.size:
                columns = self._columns(chunk, made.positions, predictions)
                types = {name: chunk.types[name] for name in self._job.keep if name in chunk.types}
                self._writer.write(columns, types)
        if self._rejects is not None and made.faults:
            with _writing(str(self._job.rejects)):
                for position in sorted(made.faults):
                    self._rejects.stream.write(self._reject(chunk, position, made.faults[position]))
        self.read += chunk.size
        self.scored += predictions.size
        self.rejected += len(made.faults)

    def publish(self) -> None:
        """Give the files their names; an output without rows has at least its header."""
        with _writing(self._job.output):
            if not self.scored:
                given = dict.fromkeys(self._job.keep + (self._outputs or (PREDICTION,)))
                self._writer.write({name: [] for name in given}, {})
            self._writer.finish()
        if self._rejects is not None:
            with _writing(str(self._job.rejects)):
                self._rejects.publish()
        with _writing(self._job.output):
            self._output.publish()

    def _columns(self, chunk: Chunk, positions: List[int], predictions: Predictions) -> Dict[str, List[Any]]:
        both = [name for name in self._job.keep if name in predictions.columns]
        if both:
            raise BadRequest("the model itself returns %s: do not keep it" % names(both))
        absent: List[Any] = [None] * chunk.size
        columns = {}
        for name in self._job.keep:
            cells = chunk.columns.get(name, absent)
            columns[name] = cells if len(positions) == chunk.size else [cells[each] for each in positions]
        columns.update(predictions.columns)
        return columns

    def _reject(self, chunk: Chunk, position: int, fault: Fault) -> bytes:
        line: Dict[str, Any] = {"row": chunk.number(position), "column": fault.column, "reason": fault.reason}
        if self._several:
            line["file"] = chunk.source
        line["record"] = plain_value(chunk.record(position))
        return (json.dumps(line) + "\n").encode("ascii")


@contextmanager
def _writing(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = "the standard output" if place == STREAM else "`%s`" % place
        raise BadOutput("cannot write %s: %s" % (name, error.strerror or error)) from error
