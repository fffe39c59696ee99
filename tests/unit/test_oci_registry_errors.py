"""Errors of registries: whole words, and no secrets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.registry_errors import PassingError, RegistryErrors

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*"), min_size=4)


def said(*errors: object) -> bytes:
    return json.dumps({"errors": errors}).encode()


@given(before=st.text(), after=st.text(), secrets=st.lists(SECRETS, min_size=1, max_size=4))
def test_no_secret_stays(before: str, after: str, secrets: list[str]) -> None:
    errors = RegistryErrors("a.example")
    errors.keep_out(*secrets)
    longest = max(secrets, key=len)
    cleaned = errors.clean(f"{before} {longest} {after}")
    assert not any(secret in cleaned for secret in secrets)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("see https://u:p@h/x?sig=abc&t=1 now", "see https://h/x now"),
        ("a\x1b[2Jb\nc", "a [2Jb c"),
        ("plain words", "plain words"),
    ],
)
def test_texts_are_cleaned(text: str, cleaned: str) -> None:
    assert RegistryErrors("a.example").clean(text) == cleaned


def test_an_empty_or_tiny_secret_does_not_blot_everything_out() -> None:
    errors = RegistryErrors("a.example")
    errors.keep_out("", None, "a")
    assert errors.clean("a banana") == "a banana"


def test_the_registrys_own_words_are_told() -> None:
    body = said({"code": "DENIED", "message": "no more space"}, {"code": "X", "message": None})
    error = RegistryErrors("a.example").refusal("PUT", "https://a.example/v2/x?digest=1", 507, body)
    assert error.message == ("the registry `a.example` answered 507 to PUT /v2/x: DENIED: no more space; X: None")
    assert error.hint is not None
    assert error.code == "registry-failed"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", said(), said("text"), b'{"errors": 7}', b"\xff"])
def test_words_that_are_none_are_left_out(body: bytes) -> None:
    error = RegistryErrors("a.example").refusal("GET", "/v2/x", 500, body)
    assert error.message == "the registry `a.example` answered 500 to GET /v2/x"


def test_long_words_are_cut() -> None:
    body = said({"code": "X", "message": "y" * 10_000})
    assert len(RegistryErrors("a.example").refusal("GET", "/v2/x", 500, body).message) < 400


def test_a_failure_that_may_pass_is_the_same_error() -> None:
    plain = RegistryErrors("a.example").denied("to push", 403, b"", "a file")
    passing = PassingError(plain, 7.0)
    assert isinstance(passing, ServiceError)
    assert (passing.code, str(passing), passing.pause) == (plain.code, str(plain), 7.0)
