"""Bodies of layers: what is told, what ends them, whose fault it is. Pulls are in `test_oci_registry`."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from typing import BinaryIO, cast

import pytest

from mlflow_dbimage.errors import ServiceError, VerificationError
from mlflow_dbimage.oci.blob_streams import InterruptedUploadError, LayerBody
from oci_samples import noise, plain_layer

SIZE = 3 << 20
LAYER = plain_layer(noise("body", SIZE))


def test_bytes_are_told_once_however_often_they_are_sent() -> None:
    told: list[int] = []
    body = LayerBody(LAYER, told.append, threading.Event())
    for length in (1 << 20, 2 << 20, SIZE):
        with body() as stream:
            assert len(stream.read(length)) == length
    body.settled()
    assert sum(told) == SIZE
    assert min(told) > 0


def test_what_did_not_have_to_pass_is_told_in_the_end() -> None:
    told: list[int] = []
    LayerBody(LAYER, told.append, threading.Event()).settled()
    assert told == [SIZE]


def test_a_body_ends_when_others_have_failed() -> None:
    stop = threading.Event()
    with LayerBody(LAYER, lambda size: None, stop)() as stream:
        assert stream.read(10) == noise("body", 10)
        stop.set()
        with pytest.raises(InterruptedUploadError):
            stream.read(10)


def test_a_body_is_checked_before_its_end_is_known() -> None:
    wrong = replace(LAYER, open=lambda: io.BytesIO(noise("wrong", SIZE)))
    with LayerBody(wrong, lambda size: None, threading.Event())() as stream:
        assert len(stream.read(SIZE)) == SIZE
        with pytest.raises(VerificationError):
            stream.read(1)


class BrokenDisk(io.BytesIO):
    """A file whose later bytes cannot be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_disk_that_fails_midway_is_named() -> None:
    broken = replace(LAYER, open=lambda: cast(BinaryIO, BrokenDisk(noise("body", SIZE))))
    body = LayerBody(broken, lambda size: None, threading.Event())
    with body() as stream, pytest.raises(ServiceError, match="Input/output error") as caught:
        while stream.read(1 << 20):
            pass
    assert caught.value.code == "disk-failed"
