"""The model: loading it with MLflow, and its answers to chunks of rows."""

from __future__ import annotations

import inspect
import os
from typing import Any, Dict, List, Optional

from .chunk import Fault
from .failures import BadModel, BadRequest, PredictFailed, one_line
from .inputs import ModelInput
from .predictions import Predictions, join, read_predictions
from .signature import ModelFile, Parameter
from .values import read_value
from .workplace import garbage_left_alone

#: When so many rows failed one by one and none was scored, it is the model, not the rows.
_FAILURES_OF_A_BROKEN_MODEL = 20


class Model:
    """A model that is loaded.

    Args:
        file: Its MLmodel file.
        params: For each call of `predict`; see `check_params`.

    Raises:
        BadModel: It does not load.
    """

    def __init__(self, file: ModelFile, params: Optional[Dict[str, Any]] = None) -> None:
        self._params: Optional[Dict[str, Any]] = None
        try:
            with garbage_left_alone():
                import mlflow.pyfunc

                # MLflow refuses models that lie behind a link.
                directory = os.path.realpath(file.directory)
                self._pyfunc = mlflow.pyfunc.load_model(directory, suppress_warnings=True)
        except (Exception, SystemExit) as error:
            raise BadModel("the model does not load: %s" % one_line(error)) from error
        self.set_params(params)

    def set_params(self, params: Optional[Dict[str, Any]]) -> None:
        """Set the parameters of the calls that follow.

        Raises:
            BadRequest: The model's MLflow takes none.
        """
        if params and "params" not in inspect.signature(self._pyfunc.predict).parameters:
            raise BadRequest("the model's MLflow knows no parameters of `predict`: they came with MLflow 2.6")
        self._params = params

    def predict(self, data: Any) -> Any:
        """Call the model; whatever it raises passes."""
        if self._params:
            return self._pyfunc.predict(data, params=self._params)
        return self._pyfunc.predict(data)


def check_params(params: Dict[str, Any], file: ModelFile) -> Dict[str, Any]:
    """Hold parameters against the model's signature, since MLflow drops unknown ones with a warning.

    Raises:
        BadRequest: The model has no such parameter, or it is of another type.
    """
    known = {each.name: each for each in file.signature.parameters}
    unknown = sorted(set(params) - set(known))
    if unknown:
        has = ", ".join("`%s`" % name for name in known) or "none"
        raise BadRequest("the model has no parameter `%s`; it has %s" % (unknown[0], has))
    return {name: _param(known[name], value) for name, value in params.items()}


def _param(parameter: Parameter, value: Any) -> Any:
    try:
        if parameter.type.name == "datetime" or value is None:
            return value  # MLflow reads ISO texts by itself
        if not parameter.is_list:
            return read_value(parameter.type, value, False)
        if not isinstance(value, list):
            raise ValueError("it takes a list")
        return [read_value(parameter.type, each, False) for each in value]
    except ValueError as error:
        reason = str(error).replace(" column", " parameter")
        raise BadRequest("parameter `%s`: %s" % (parameter.name, reason)) from error


class Scorer:
    """Scores chunks and, where asked to, finds the rows that the model cannot take.

    Args:
        model: The model.
        set_aside: Whether rows on which the model raises are left out, not an error.
    """

    def __init__(self, model: Model, set_aside: bool) -> None:
        self._model = model
        self._set_aside = set_aside
        self._scored = 0
        self._failed = 0

    def score(self, made: ModelInput, first: int) -> Predictions:
        """Score the rows of a chunk; rows that the model cannot take are added to `made.faults`.

        Args:
            made: The rows; those that are set aside are taken out of its `positions`.
            first: The number of the chunk's first row, for messages.

        Raises:
            PredictFailed: The model raised, or its answer does not fit the rows.
        """
        stop = len(made.positions)
        if not stop:
            return Predictions({}, 0)
        try:
            return self._predict(made, 0, stop)
        except _ModelRaised as raised:
            if not self._set_aside:
                raise self._failure(made, first, raised) from raised.__cause__
            parts = self._halves(made, 0, stop, raised)
            made.positions[:] = [each for each in made.positions if each not in made.faults]
            return join(parts)

    def _predict(self, made: ModelInput, start: int, stop: int) -> Predictions:
        try:
            answer = self._model.predict(made.part(start, stop))
        except (Exception, SystemExit) as error:
            raise _ModelRaised(one_line(error)) from error
        predictions = read_predictions(answer, stop - start)
        self._scored += stop - start
        return predictions

    def _halves(self, made: ModelInput, start: int, stop: int, raised: _ModelRaised) -> List[Predictions]:
        """Score what can be scored of rows on which the model raised, by halving."""
        if stop - start == 1:
            made.faults[made.positions[start]] = Fault("the model raised " + str(raised))
            self._failed += 1
            if not self._scored and self._failed >= _FAILURES_OF_A_BROKEN_MODEL:
                text = "the model raises on each of the first %d rows: %s"
                raise PredictFailed(text % (self._failed, raised)) from raised.__cause__
            return []
        middle = (start + stop) // 2
        parts: List[Predictions] = []
        for low, high in ((start, middle), (middle, stop)):
            try:
                parts.append(self._predict(made, low, high))
            except _ModelRaised as inner:
                parts.extend(self._halves(made, low, high, inner))
        return parts

    def _failure(self, made: ModelInput, first: int, raised: _ModelRaised) -> PredictFailed:
        """Find the first row on which the model raises, and name it."""
        start, stop = 0, len(made.positions)
        while stop - start > 1:
            middle = (start + stop) // 2
            try:
                self._predict(made, start, middle)
                start = middle
            except _ModelRaised as inner:
                stop, raised = middle, inner
        try:
            self._predict(made, start, stop)
        except _ModelRaised as inner:
            return PredictFailed("row %d: the model raised %s" % (first + made.positions[start], inner))
        rows = (first + made.positions[0], first + made.positions[-1])
        return PredictFailed("rows %d to %d, scored together: the model raised %s" % (rows + (raised,)))


class _ModelRaised(Exception):
    """The model raised; the cause is what."""
