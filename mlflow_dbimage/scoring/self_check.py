"""The check that an image makes of itself: load the model, predict on its example twice, import what it requires.

What comes of it is one JSON object, whose fields `docs/verification.md` has. A check that finds something wrong is
a check that worked: what a model does wrong is in the report.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import sys
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .attempts import Attempts
from .bodies import Body, read_body
from .chunk import chunk_of_rows
from .closeness import first_difference
from .error_facts import error_facts
from .failures import BadInput, BadModel
from .import_times import ImportTimes
from .inputs import InputMaker, ModelInput
from .made_example import made_rows
from .model import Model, check_params
from .predictions import Predictions, read_predictions
from .requirement_imports import import_all, installed_distributions, normal
from .signature import ModelFile, read
from .typed_values import typed_rows, types_of

#: Of the report; goes up when a field changes its meaning or goes.
REPORT_VERSION = 1
#: Most rows of predictions that a report has.
ROWS = 1000

#: The example that is made where a model has none.
FROM_SIGNATURE = "signature"
_EXAMPLES = ("serving_input_example.json", "input_example.json")


class _Failed(Exception):
    """A stage ended with an exception, its cause."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage


class _DoesNotLoad(Exception):
    """Carries what a model raised as it was loaded, with the exceptions from which that came."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(str(original))
        self.original = original


class _Answer(NamedTuple):
    types: List[str]
    predictions: Predictions


class SelfCheck:
    """One check of one model, in this process. What it watches it watches until the process ends.

    Args:
        directory: Of the model.
        say: Told what is done, so that a process which dies has said at what.
    """

    def __init__(self, directory: str, say: Callable[[str], None]) -> None:
        self._directory = os.path.realpath(directory)
        self._say = say
        self._times = ImportTimes()
        self._attempts = Attempts(self._directory)
        self.predictions: Optional[Predictions] = None
        """What was predicted first."""
        self._report: Dict[str, Any] = {
            "version": REPORT_VERSION,
            "python": "%d.%d.%d" % sys.version_info[:3],
            "directory": self._directory,
            "load_seconds": None,
            "predict_seconds": None,
            "example": None,
            "predictions": None,
            "repeated": None,
            "modules": {},
            "error": None,
        }

    def exercise(self, example: Optional[str] = None) -> None:
        """Load the model and predict.

        Args:
            example: Name of its example file; None where the model's own names are to be tried.
        """
        self._report["watched"] = self._attempts.watch()
        with self._times.watched():
            try:
                self._load_and_predict(example)
            except _Failed as failed:
                assert failed.__cause__ is not None
                self._report["error"] = error_facts(failed.stage, failed.__cause__)
        self._report["peak_memory"] = peak_memory()
        self._report["loaded_size"] = _loaded_size()

    def finish(self) -> Dict[str, Any]:
        """Import what the model requires and was not imported yet, and return the report."""
        self._say("check: importing what the model requires")
        with self._times.watched():
            self._report["modules"] = import_all(self._directory)
        self._report["imports"] = self._times.slowest()
        self._report["network"] = self._attempts.network
        self._report["writes"] = self._attempts.writes
        self._report["distributions"] = {
            normal(each.name): each.version for each in installed_distributions().values()
        }
        return self._report

    def _load_and_predict(self, example: Optional[str]) -> None:
        self._say("check: loading the model")
        with self._stage("load"):
            file = read(self._directory)
        started = time.perf_counter()
        with self._stage("import"):
            import mlflow.pyfunc  # noqa: F401
        with self._stage("load"):
            model = _loaded(file)
        self._report["load_seconds"] = round(time.perf_counter() - started, 3)
        with self._stage("input"):
            name, body = self._example(file, example)
            self._report["example"] = name
            if body is None or not body.rows:
                return
            # Models may change what they are given: each call gets its own.
            inputs = [_made_input(file, copy.deepcopy(body.rows)) for _ in range(2)]
            model.set_params(check_params(body.params or {}, file))
        self._predict_twice(model, inputs)

    def _example(self, file: ModelFile, example: Optional[str]) -> Tuple[Optional[str], Optional[Body]]:
        for name in (example,) if example is not None else _EXAMPLES:
            path = os.path.join(self._directory, name)
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as stream:
                    return name, read_body(stream)
        rows = made_rows(file.signature)
        return (None, None) if rows is None else (FROM_SIGNATURE, Body(rows))

    def _predict_twice(self, model: Model, inputs: List[ModelInput]) -> None:
        self._say("check: predicting")
        started = time.perf_counter()
        first = self._predict(model, inputs[0])
        self._report["predict_seconds"] = round(time.perf_counter() - started, 3)
        self.predictions = first.predictions
        with self._stage("predict"):
            rows = typed_rows(first.predictions, ROWS)
        self._report["predictions"] = {
            "columns": list(first.predictions.columns),
            "types": first.types,
            "rows": rows,
            "row_count": first.predictions.size,
        }
        second = self._predict(model, inputs[1])
        with self._stage("predict"):
            self._report["repeated"] = _repeated(first, rows, second)

    def _predict(self, model: Model, made: ModelInput) -> _Answer:
        size = len(made.positions)
        with self._stage("predict"):
            answer = model.predict(made.part(0, size))
            if hasattr(answer, "__next__"):
                answer = list(answer)
            predictions = read_predictions(answer, size)
            return _Answer(types_of(answer, predictions), predictions)

    @property
    def error(self) -> Optional[str]:
        """What ended the exercise, in one line; what a made example cannot be given to does not count."""
        error = self._report["error"]
        if error is None or (self._report["example"] == FROM_SIGNATURE and error["stage"] != "load"):
            return None
        return "%s: %s" % (error["type"], error["message"].split("\n")[0])

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            raise _Failed(name) from (error.original if isinstance(error, _DoesNotLoad) else error)


def check(directory: str, say: Callable[[str], None]) -> Dict[str, Any]:
    """Check a model and return the report."""
    made = SelfCheck(directory, say)
    made.exercise()
    return made.finish()


def write_report(report: Dict[str, Any]) -> bytes:
    """Write a report as one line."""
    return json.dumps(report, allow_nan=False).encode("ascii") + b"\n"


def _loaded(file: ModelFile) -> Model:
    try:
        return Model(file)
    except BadModel as error:
        raise _DoesNotLoad(error.__cause__ or error) from error


def _made_input(file: ModelFile, rows: List[Any]) -> ModelInput:
    made = InputMaker(file.signature, ()).make(chunk_of_rows(rows))
    for position, fault in sorted(made.faults.items()):
        raise BadInput("row %d of the example: %s" % (position + 1, fault))
    return made


def _repeated(first: _Answer, rows: List[List[Any]], second: _Answer) -> Any:
    """Say `same`, or where the second answer differs from the first."""
    names = list(first.predictions.columns)
    if list(second.predictions.columns) != names:
        return {"row": None, "column": None, "first": names, "second": list(second.predictions.columns)}
    found = first_difference(first.types, rows, typed_rows(second.predictions, ROWS))
    if found is None:
        return "same"
    return {"row": found.row, "column": names[found.column], "first": found.first, "second": found.second}


def peak_memory() -> int:
    """Return the most memory that this process held, in bytes.

    Linux' own count for this program; what `getrusage` has may be of the process that started it.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _loaded_size() -> int:
    """Return the bytes of the files of all that is loaded: modules, and shared libraries with theirs."""
    files = {getattr(getattr(each, "__spec__", None), "origin", None) for each in list(sys.modules.values())}
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
            files.update(line.split(None, 5)[-1].rstrip("\n") for line in stream if ".so" in line)
    except OSError:
        pass
    return sum(os.path.getsize(each) for each in files if isinstance(each, str) and os.path.isfile(each))
