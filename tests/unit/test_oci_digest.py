"""Digests."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.oci.digest import Digest

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_of_nothing_is_the_known_digest() -> None:
    assert str(Digest.of(b"")) == EMPTY
    assert Digest.of_stream(io.BytesIO()) == Digest.parse(EMPTY)
    assert Digest.parse(EMPTY).short == "e3b0c44298fc"


@given(st.binary(max_size=5000))
def test_a_stream_has_the_digest_of_its_bytes(data: bytes) -> None:
    assert Digest.of_stream(io.BytesIO(data)) == Digest.of(data)
    assert Digest.of(data).hex == hashlib.sha256(data).hexdigest()
    assert Digest.parse(str(Digest.of(data))) == Digest.of(data)


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", EMPTY[:-1], EMPTY + "0", EMPTY.upper(), EMPTY + "\n", EMPTY[7:], "sha512:" + "0" * 128],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        Digest.parse(text)
