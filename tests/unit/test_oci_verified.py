"""Blobs that are checked as they are read."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.verified import DigestingStream, verified


def described(data: bytes) -> Descriptor:
    return Descriptor(media_type=OCI_LAYER_TAR, digest=Digest.of(data), size=len(data))


@given(st.binary(max_size=3000), st.integers(1, 500))
def test_right_bytes_pass_in_pieces_of_any_size(data: bytes, size: int) -> None:
    with verified(io.BytesIO(data), described(data), "here") as stream:
        assert b"".join(iter(lambda: stream.read(size), b"")) == data


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_other_bytes_never_reach_their_end(data: bytes, other: bytes) -> None:
    with verified(io.BytesIO(other), described(data), "here") as stream:
        if data == other:
            assert stream.read() == data
        else:
            with pytest.raises(VerificationError) as caught:
                stream.read()
            assert caught.value.code == "digest-mismatch"


@pytest.mark.parametrize(
    ("other", "reason"),
    [(b"ab", "has 2 of its 3 bytes"), (b"abcd", "has more than its 3 bytes"), (b"abd", "has the digest")],
)
def test_the_message_says_where_and_what(other: bytes, reason: str) -> None:
    with verified(io.BytesIO(other), described(b"abc"), "oci:/x") as stream:
        with pytest.raises(VerificationError, match=reason) as caught:
            stream.read()
    assert f"{Digest.of(b'abc')} in `oci:/x`" in caught.value.message


def test_a_blob_without_an_end_is_given_up() -> None:
    class Endless(io.BytesIO):
        given = 0

        def read(self, size: int | None = -1) -> bytes:
            self.given += size or 0
            return b"x" * (size or 0) if self.given < 64 << 20 else b""

    source = Endless()
    with verified(source, described(b"abc"), "here") as stream, pytest.raises(VerificationError):
        stream.read()
    assert source.given <= 4 << 20


def test_the_blob_is_closed_with_its_stream() -> None:
    source = io.BytesIO(b"abc")
    stream = verified(source, described(b"abc"), "here")
    stream.close()
    assert source.closed


def test_what_was_read_is_counted_and_digested() -> None:
    stream = DigestingStream(io.BytesIO(b"abcdef"))
    assert stream.read(3) == b"abc"
    assert (stream.size, stream.digest) == (3, Digest.of(b"abc"))
    stream.drain()
    assert (stream.size, stream.digest) == (6, Digest.of(b"abcdef"))
