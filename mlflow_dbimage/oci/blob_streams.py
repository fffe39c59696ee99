"""Blobs on their way to and from a registry, checked against their descriptors as they pass."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, cast

import urllib3
from urllib3.exceptions import HTTPError

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.registry_auth import Access
from mlflow_dbimage.oci.registry_transport import PAUSES, Call, Transport
from mlflow_dbimage.oci.verified import verified

_BLOCK = 1 << 20
_PLAIN = {"Accept-Encoding": "identity"}


class InterruptedUploadError(Exception):
    """Another blob of the same image failed, so that this one is of no use."""


class LayerBody:
    """Opens the blob of a layer that is sent, again where a connection broke.

    A blob whose size or digest is wrong ends in an error before the registry stores it.

    Args:
        layer: Whose blob.
        report: Called with bytes as they pass; bytes that are sent again are not reported again.
        stop: When it is set, reading ends in `InterruptedUploadError`.
    """

    def __init__(self, layer: Layer, report: Callable[[int], None], stop: threading.Event) -> None:
        self._layer = layer
        self._report = report
        self._stop = stop
        self._reported = 0

    def __call__(self) -> BinaryIO:
        """Open the blob at its start.

        Raises:
            ServiceError: `disk-failed`, it cannot be read; or as the layer's own `open`.
        """
        try:
            blob = self._layer.open()
        except OSError as error:
            raise self.unreadable(error) from error
        whole = verified(blob, self._layer.descriptor, self._layer.origin or "the image")
        return cast(BinaryIO, _SentBlob(whole, self))

    def passed(self, position: int) -> None:
        """Take note of how far the blob was read."""
        if self._stop.is_set():
            raise InterruptedUploadError
        if position > self._reported:
            self._report(position - self._reported)
            self._reported = position

    def settled(self) -> None:
        """Report what did not have to pass: the layer is where it should be."""
        self.passed(self._layer.descriptor.size)

    def unreadable(self, error: OSError) -> ServiceError:
        """Return the error of a disk, which would look like a broken connection."""
        layer = self._layer.descriptor.digest.short
        return ServiceError("disk-failed", f"the layer {layer} cannot be read: {error.strerror or error}")


class _SentBlob(io.RawIOBase):
    """A blob that says how far it was read."""

    def __init__(self, blob: BinaryIO, body: LayerBody) -> None:
        self._blob = blob
        self._body = body
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._blob.read(len(buffer))
        except OSError as error:
            raise self._body.unreadable(error) from error
        buffer[: len(data)] = data
        self._position += len(data)
        self._body.passed(self._position)
        return len(data)

    def close(self) -> None:
        self._blob.close()
        super().close()


def pulled_blob(transport: Transport, place: str, access: Access, descriptor: Descriptor) -> BinaryIO:
    """Begin to fetch a blob; a connection that breaks is resumed.

    Args:
        transport: To the registry.
        place: Path of the blob.
        access: To read it.
        descriptor: What it must be; else reading raises `VerificationError`.

    Raises:
        ServiceError: As `Transport.send`.
    """
    call = Call(method="GET", place=place, access=access, accepts=frozenset({200, 206}), headers=_PLAIN)
    blob = _PulledBlob(transport, call, descriptor)
    return verified(cast(BinaryIO, blob), descriptor, transport.host)


class _PulledBlob:
    """The bytes of a blob, over as many connections as it takes."""

    def __init__(self, transport: Transport, call: Call, descriptor: Descriptor) -> None:
        self._transport = transport
        self._call = call
        self._size = descriptor.size
        self._doing = f"fetching the blob {descriptor.digest.short}"
        self._position = 0
        self._pauses = list(reversed(PAUSES))
        self._response: urllib3.BaseHTTPResponse | None = transport.open(call)

    def read(self, size: int) -> bytes:
        """Give up to `size` bytes, none at the end."""
        while True:
            try:
                data = self._read(size)
            except (HTTPError, OSError) as error:
                self._let_go()
                if not self._pauses:
                    raise self._transport.errors.unreachable(error, self._doing) from error
                self._transport.clock.sleep(self._pauses.pop())
                continue
            self._position += len(data)
            return data

    def close(self) -> None:
        """Close the connection, which may be in the middle of the blob."""
        self._let_go()

    def _read(self, size: int) -> bytes:
        self._response = self._response or self._resumed()
        data = self._response.read(size) or b""
        if not data and self._position < self._size:
            raise HTTPError("the connection ended before the blob did")
        return data

    def _resumed(self) -> urllib3.BaseHTTPResponse:
        headers = {**_PLAIN, "Range": f"bytes={self._position}-"} if self._position else _PLAIN
        response = self._transport.open(replace(self._call, headers=headers))
        left = self._position if response.status == 200 else 0  # this registry sends it all again
        while left:
            skipped = len(response.read(min(_BLOCK, left)))
            if not skipped:
                response.close()
                raise HTTPError("the connection ended before the blob did")
            left -= skipped
        return response

    def _let_go(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response.release_conn()
            self._response = None
