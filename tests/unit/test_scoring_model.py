"""The model's answers to rows, and the search for rows that it cannot take."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.failures import BadModel, BadRequest, PredictFailed
from mlflow_dbimage.scoring.inputs import ModelInput
from mlflow_dbimage.scoring.model import Model, Scorer, check_params
from mlflow_dbimage.scoring.signature import ModelFile, Parameter, Signature, ValueType


class Picky:
    """Doubles numbers and raises on some of them; counts its calls."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.calls = 0

    def predict(self, data: list[int]) -> Any:
        self.calls += 1
        found = self.bad & set(data)
        if found:
            raise ValueError(f"cannot take\n{min(found)}")
        return [2 * each for each in data]


def numbers(count: int) -> ModelInput:
    return ModelInput(list(range(count)), list(range(count)), {})


def test_good_rows_are_one_call():
    model = Picky(set())
    assert Scorer(model, True).score(numbers(5), 1).columns == {"prediction": [0, 2, 4, 6, 8]}
    assert model.calls == 1


def test_no_rows_are_no_call():
    model = Picky(set())
    assert Scorer(model, True).score(numbers(0), 1).size == 0
    assert model.calls == 0


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=6))
def test_exactly_the_bad_rows_are_set_aside(count: int, bad: set[int]):
    bad = {each for each in bad if each < count}
    made = numbers(count)
    predictions = Scorer(Picky(bad), True).score(made, 1)
    good = [each for each in range(count) if each not in bad]
    assert predictions.columns.get("prediction", []) == [2 * each for each in good]
    assert made.positions == good
    assert {position: fault.reason for position, fault in made.faults.items()} == {
        each: f"the model raised ValueError: cannot take {each}" for each in bad
    }


def test_one_bad_row_costs_few_calls():
    model = Picky({700})
    Scorer(model, True).score(numbers(1000), 1)
    assert model.calls <= 2 * 10 + 1


def test_a_model_that_fails_on_every_row_is_broken():
    model = Picky(set(range(1000)))
    with pytest.raises(PredictFailed, match="raises on each of the first 20 rows: ValueError: cannot take"):
        Scorer(model, True).score(numbers(1000), 1)
    assert model.calls < 100


def test_without_setting_aside_the_first_bad_row_is_named():
    made = ModelInput(list(range(100)), [2 * each for each in range(100)], {})
    with pytest.raises(PredictFailed) as caught:
        Scorer(Picky({61, 80}), False).score(made, 1001)
    assert str(caught.value) == "row 1123: the model raised ValueError: cannot take 61"
    assert isinstance(caught.value.__cause__, ValueError)


class Crowded:
    """Raises on more than one row at a time."""

    def predict(self, data: list[int]) -> Any:
        if len(data) > 1:
            raise MemoryError("too many")
        return data


def test_a_failure_of_many_rows_together_is_told_as_such():
    with pytest.raises(
        PredictFailed, match="rows 1 to 2, scored together: the model raised MemoryError: too many"
    ):
        Scorer(Crowded(), False).score(numbers(2), 1)
    assert Scorer(Crowded(), True).score(numbers(3), 1).columns == {"prediction": [0, 1, 2]}


class Leaving:
    """Ends the process, as far as it can."""

    def predict(self, data: list[int]) -> Any:
        raise SystemExit(0)


def test_a_model_cannot_end_the_job_as_done():
    with pytest.raises(PredictFailed, match="row 1: the model raised SystemExit: 0"):
        Scorer(Leaving(), False).score(numbers(1), 1)


class Miscounting:
    def predict(self, data: list[int]) -> Any:
        return [1]


def test_a_wrong_number_of_predictions_is_not_the_rows_fault():
    with pytest.raises(PredictFailed, match="returned 1 prediction for 3 rows"):
        Scorer(Miscounting(), True).score(numbers(3), 1)


def file(*parameters: Parameter) -> ModelFile:
    return ModelFile("nowhere", Signature(parameters=parameters), None, None)


LIMIT = Parameter("limit", ValueType("long"), 5, False)
NAMES = Parameter("names", ValueType("string"), [], True)


def test_params_are_read_by_the_signature():
    assert check_params({"limit": 3.0, "names": ["a"]}, file(LIMIT, NAMES)) == {"limit": 3, "names": ["a"]}
    assert check_params({"limit": None}, file(LIMIT)) == {"limit": None}
    assert check_params({}, file()) == {}


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"limt": 3}, "the model has no parameter `limt`; it has `limit`, `names`"),
        ({"limit": "many"}, "parameter `limit`: `many` in a long parameter"),
        ({"names": "a"}, "parameter `names`: it takes a list"),
        ({"names": [1]}, "parameter `names`: `1` is no text, in a string parameter"),
    ],
)
def test_params_that_do_not_fit_are_refused(params: dict[str, Any], reason: str):
    with pytest.raises(BadRequest) as caught:
        check_params(params, file(LIMIT, NAMES))
    assert str(caught.value) == reason


def test_a_model_without_parameters_says_so():
    with pytest.raises(BadRequest, match="it has none"):
        check_params({"a": 1}, file())


def test_a_model_that_does_not_load_is_told_in_one_line(tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {loader_module: no_such_module}}\n")
    with pytest.raises(BadModel, match="the model does not load: ModuleNotFoundError") as caught:
        Model(ModelFile(str(tmp_path), Signature(), None, None))
    assert "\n" not in str(caught.value)
