"""Chunks of rows as what `predict` takes."""

from __future__ import annotations

import json

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.scoring.chunk import Chunk, chunk_of_rows
from mlflow_dbimage.scoring.failures import BadInput
from mlflow_dbimage.scoring.guesses import guess_type
from mlflow_dbimage.scoring.inputs import InputMaker
from mlflow_dbimage.scoring.signature import Column, Signature, Tensor, ValueType, value_type


def text(source: str = "in.csv", **columns: list[str]) -> Chunk:
    size = len(next(iter(columns.values())))
    return Chunk(dict(columns), size, True, source=source)


def records(*rows: object) -> Chunk:
    chunk = chunk_of_rows(list(rows))
    chunk.source = "in.jsonl"
    return chunk


def columns(*specs: tuple[str | None, str], **more: bool) -> Signature:
    return Signature(columns=tuple(Column(name, ValueType(kind), **more) for name, kind in specs))


def make(signature: Signature, chunk: Chunk, keep: tuple[str, ...] = ()):
    return InputMaker(signature, keep).make(chunk)


EVERY = columns(
    ("s", "string"),
    ("l", "long"),
    ("i", "integer"),
    ("d", "double"),
    ("f", "float"),
    ("b", "boolean"),
    ("x", "binary"),
    ("t", "datetime"),
)
EVERY_TEXT = {
    "s": ["007"],
    "l": ["9007199254740993"],
    "i": ["3"],
    "d": ["2"],
    "f": ["0.1"],
    "b": ["true"],
    "x": ["aGk="],
    "t": ["2020-01-02T03:04:05.123456789"],
}


def test_a_frame_has_the_signatures_columns_order_and_types():
    made = make(EVERY, text(extra=["e"], **dict(reversed(EVERY_TEXT.items()))))
    assert list(made.data.columns) == ["s", "l", "i", "d", "f", "b", "x", "t"]
    assert [str(dtype) for dtype in made.data.dtypes] == [
        "object",
        "int64",
        "int32",
        "float64",
        "float32",
        "bool",
        "object",
        "datetime64[ns]",
    ]
    row = made.data.iloc[0]
    assert (row["s"], row["l"], row["d"], row["x"]) == ("007", 9007199254740993, 2.0, b"hi")
    assert row["t"] == pandas.Timestamp("2020-01-02T03:04:05.123456789")


def test_the_same_frame_comes_of_text_and_of_json():
    row = {
        "s": "007",
        "l": 9007199254740993,
        "i": 3,
        "d": 2,
        "f": 0.1,
        "b": True,
        "x": "aGk=",
        "t": "2020-01-02T03:04:05.123456789",
    }
    pandas.testing.assert_frame_equal(make(EVERY, text(**EVERY_TEXT)).data, make(EVERY, records(row)).data)


def test_bad_rows_are_left_out_and_named():
    made = make(columns(("a", "long"), ("b", "double")), text(a=["1", "", "x", "4"], b=["1", "2", "y", ""]))
    assert made.data["a"].tolist() == [1, 4]
    assert numpy.isnan(made.data["b"][1])
    assert made.data.index.tolist() == [0, 1]
    assert made.positions == [0, 3]
    assert {position: str(fault) for position, fault in made.faults.items()} == {
        1: "column `a`: null in a long column",
        2: "column `a`: `x` in a long column",
    }


def test_parts_of_an_input():
    made = make(columns(("a", "long")), text(a=["1", "2", "3"]))
    assert made.part(1, 3)["a"].tolist() == [2, 3]
    assert made.part(1, 3).index.tolist() == [0, 1]
    assert made.part(0, 3) is made.data


def test_all_missing_columns_are_one_error():
    with pytest.raises(BadInput) as caught:
        make(columns(("a", "long"), ("b", "long"), ("c", "long")), text(a=["1"], z=["2"]), keep=("id", "z"))
    assert str(caught.value) == (
        "`in.csv` has no column `b`, `c`, which the model needs, and no `id`, which is to be kept; it has `a`, `z`"
    )


def test_optional_columns_may_be_missing_or_null():
    signature = Signature(
        columns=(Column("a", ValueType("long")), Column("o", ValueType("string"), required=False))
    )
    assert list(make(signature, text(a=["1"])).data.columns) == ["a"]
    assert make(signature, text(a=["1"], o=[""])).data["o"].tolist() == [None]


def test_json_may_leave_out_nulls_but_not_a_whole_column_at_first():
    signature = columns(("a", "double"), ("s", "string"))
    maker = InputMaker(signature, ())
    with pytest.raises(BadInput, match="no column `s`"):
        maker.make(records({"a": 1}, {"a": 2}))
    maker = InputMaker(signature, ("k",))
    assert maker.make(records({"a": 1, "s": "x", "k": 1}, {"s": "y"})).data["s"].tolist() == ["x", "y"]
    later = maker.make(records({"a": 3}))
    assert later.data["s"].tolist() == [None]
    assert later.data["a"].tolist() == [3.0]


def test_a_column_that_is_there_twice_counts_only_if_it_is_used():
    chunk = text(a=["1"], b=["2"])
    chunk.duplicates = ("b",)
    assert make(columns(("a", "long")), chunk).positions == [0]
    with pytest.raises(BadInput, match="has the column `b` twice"):
        make(columns(("b", "long")), chunk)


def test_columns_by_position_leave_out_those_to_keep():
    signature = columns((None, "double"), (None, "string"))
    made = make(signature, text(id=["7"], x=["1"], y=["u"]), keep=("id",))
    assert made.data.to_dict("list") == {"x": [1.0], "y": ["u"]}
    assert make(signature, records([1, "u"], [2, "v"])).data.values.tolist() == [[1.0, "u"], [2.0, "v"]]
    assert str(make(signature, records([1, "u"], [2])).faults[1]) == "it is no list of 2 values"
    with pytest.raises(BadInput, match=r"takes 2 columns by position, and `in.csv` has 3"):
        make(signature, text(id=["7"], x=["1"], y=["u"]))


def test_models_typed_to_take_lists_get_them():
    strings = Signature(columns=(Column(None, ValueType("string")),), takes_list=True)
    assert make(strings, records("a", "b")).data == ["a", "b"]
    assert make(strings, text(q=["a", ""])).data == ["a", None]
    times = Signature(columns=(Column(None, ValueType("datetime")),), takes_list=True)
    assert make(times, text(q=["2020-01-02"])).data == [pandas.Timestamp("2020-01-02")]
    kind = value_type(
        {
            "type": "object",
            "properties": {"n": {"type": "long", "required": True}, "s": {"type": "string", "required": False}},
        }
    )
    rows = Signature(columns=(Column(None, kind),), takes_list=True)
    assert make(rows, text(n=["1", "2"], s=["x", ""])).data == [{"n": 1, "s": "x"}, {"n": 2}]
    assert make(rows, records({"n": 1, "s": "x"})).data == [{"n": 1, "s": "x"}]
    assert str(make(rows, text(n=["1", "z"])).faults[1]) == "at `n`: `z` in a long column"


def test_without_a_signature_types_are_guessed_and_held():
    maker = InputMaker(Signature(), ("id",))
    first = maker.make(text(id=["1"], n=["1"], d=["1.5"], s=["x"], b=["True"], e=[""]))
    assert {name: str(dtype) for name, dtype in first.data.dtypes.items()} == {
        "n": "int64",
        "d": "float64",
        "s": "object",
        "b": "bool",
        "e": "float64",
    }
    second = maker.make(text(id=["2"], n=["2.5"], d=["3"], s=["4"], b=["false"], e=["1"]))
    assert second.data["n"].tolist() == [2.5]
    assert second.data["s"].tolist() == ["4"]
    third = maker.make(text(id=["3", "4"], n=["1", "1"], d=["x", "1"], s=["", ""], b=["true", "true"], e=["", ""]))
    assert str(third.data["n"].dtype) == "float64"
    assert "guessed from the first rows" in str(third.faults[0])


def test_a_file_without_rows_is_no_ground_for_a_guess():
    maker = InputMaker(Signature(), ())
    assert maker.make(text(n=[])).positions == []
    assert str(maker.make(text(n=["x"])).data["n"].dtype) == "object"


@pytest.mark.parametrize(
    ("cells", "textual", "kind"),
    [
        (["1", "2"], True, "long"),
        (["1", ""], True, "double"),
        (["1.5", "NA"], True, "double"),
        (["true", "False"], True, "boolean"),
        (["2020-01-01"], True, "string"),
        (["1_0"], True, "string"),
        (["", ""], True, "double"),
        ([1, 2], False, "long"),
        ([1, None], False, "double"),
        ([1, 2.5], False, "double"),
        ([True, False], False, "boolean"),
        ([True, None], False, "any"),
        (["x", None], False, "string"),
        ([{"a": 1}], False, "any"),
        ([True, 1], False, "any"),
    ],
)
def test_guesses(cells: list, textual: bool, kind: str):
    assert guess_type(cells, textual) == kind


def tensor(dtype: str, *shape: int, name: str | None = None) -> Signature:
    return Signature(tensors=(Tensor(name, dtype, shape),))


def test_a_tensor_of_columns_or_of_lists():
    signature = tensor("float32", -1, 2)
    for chunk in (
        text(x=["1", "3"], y=["2", ""]),
        records({"x": 1, "y": 2}, {"x": 3, "y": None}),
        records([1, 2], [3, None]),
        text(v=["[1, 2]", "[3, null]"]),
        records({"v": [1, 2]}, {"v": [3, None]}),
    ):
        data = make(signature, chunk).data
        assert (data.shape, str(data.dtype)) == ((2, 2), "float32")
        numpy.testing.assert_array_equal(data, numpy.array([[1, 2], [3, numpy.nan]], "float32"))


def test_columns_fill_tensors_of_many_dimensions_in_c_order():
    chunk = text(**{f"c{number}": [str(number), str(10 + number)] for number in range(6)})
    data = make(tensor("int64", -1, 2, 3), chunk).data
    assert data.tolist() == [[[0, 1, 2], [3, 4, 5]], [[10, 11, 12], [13, 14, 15]]]


def test_rows_that_do_not_fit_a_tensor_are_named():
    made = make(tensor("int64", -1, 2), text(v=["[1, 2]", "[1]", "[1, 2.5]", "[1, 2, ", "[3, 4]", ""]))
    assert made.data.tolist() == [[1, 2], [3, 4]]
    assert made.positions == [0, 4]
    assert str(made.faults[1]) == "column `v`: a list of shape [1], where the model takes [2]"
    assert str(made.faults[2]) == "column `v`: `2.5` in a long column"
    assert str(made.faults[3]) == "column `v`: `[1, 2, ` is no JSON"
    made = make(tensor("float64", -1, -1), records({"v": [1, 2]}, {"v": [1]}, {"v": [[1], [2]]}))
    assert made.data.tolist() == [[1.0, 2.0]]


def test_tensors_with_names_are_a_dict():
    signature = Signature(
        tensors=(Tensor("a", "float64", (-1, 2)), Tensor("b", "int64", (-1, 1)), Tensor("s", "str", (-1,)))
    )
    made = make(
        signature,
        records(
            {"a": [1, 2], "b": 3, "s": "x"}, {"a": [4, 5], "b": None, "s": "y"}, {"a": [6, 7], "b": 8, "s": "z"}
        ),
    )
    assert {name: array.tolist() for name, array in made.part(0, 2).items()} == {
        "a": [[1.0, 2.0], [6.0, 7.0]],
        "b": [[3], [8]],
        "s": ["x", "z"],
    }
    with pytest.raises(BadInput, match="no column `b`"):
        make(signature, records({"a": [1, 2], "s": "x"}))


def test_too_many_columns_for_a_tensor():
    with pytest.raises(BadInput, match=r"takes 2 columns, or one with lists, for a row, and `in.csv` has 3"):
        make(tensor("float64", -1, 2), text(a=["1"], b=["2"], c=["3"]))


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1, max_size=5
    )
)
def test_tensors_of_text_and_of_json_are_equal(rows: list[list[float]]):
    signature = tensor("float64", -1, 2)
    cells = make(signature, text(x=[repr(row[0]) for row in rows], y=[repr(row[1]) for row in rows])).data
    lists = make(signature, text(v=[json.dumps(row) for row in rows])).data
    numpy.testing.assert_array_equal(cells, numpy.array(rows))
    numpy.testing.assert_array_equal(lists, numpy.array(rows))
