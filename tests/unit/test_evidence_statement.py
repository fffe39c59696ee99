"""Statements survive their JSON form; what is none is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.oci.digest import Digest

IMAGE = Digest.of(b"image")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.text(), st.dictionaries(st.text(), values, max_size=4))
def test_a_statement_comes_back(name: str, kind: str, predicate: dict) -> None:
    made = Statement(subject_name=name, subject=IMAGE, predicate_type=kind, predicate=predicate)
    assert Statement.from_bytes(made.to_bytes()) == made


def test_equal_statements_have_equal_bytes() -> None:
    one = Statement(subject_name="n", subject=IMAGE, predicate_type="t", predicate={"a": 1, "b": 2})
    two = Statement(subject_name="n", subject=IMAGE, predicate_type="t", predicate={"b": 2, "a": 1})
    assert one.to_bytes() == two.to_bytes()


def changed(**changes: object) -> bytes:
    made = Statement(subject_name="n", subject=IMAGE, predicate_type="t", predicate={})
    return json.dumps({**json.loads(made.to_bytes()), **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        changed(_type="https://in-toto.io/Statement/v0.1"),
        changed(subject=[]),
        changed(subject=[1, 2]),
        changed(subject=[{"name": "n", "digest": {"sha512": "0"}}]),
        changed(subject=[{"name": "n", "digest": {"sha256": "zz"}}]),
        changed(predicate=None),
    ],
)
def test_what_is_no_statement_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Statement.from_bytes(data)
