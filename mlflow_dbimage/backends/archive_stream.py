"""An archive for the Docker engine as a stream of chunks, written while it is sent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence

from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import write_archive
from mlflow_dbimage.oci.image import Image

_CHUNK = 1 << 20


class ArchiveStream:
    """The bytes of an archive; may be read once.

    Args:
        image: To write.
        names: That it gets.
        omit: Layers that are left out.
    """

    def __init__(self, image: Image, names: Sequence[str], omit: frozenset[Digest]) -> None:
        self._image = image
        self._names = names
        self._omit = omit
        self._failure: BaseException | None = None
        self.sent = 0
        """How many bytes have been read."""

    def __iter__(self) -> Iterator[bytes]:
        read_end, write_end = os.pipe()
        writer = threading.Thread(target=self._write, args=(write_end,), daemon=True)
        with os.fdopen(read_end, "rb", buffering=0) as stream:
            writer.start()
            while True:
                chunk = stream.read(_CHUNK)
                if not chunk:
                    break
                self.sent += len(chunk)
                yield chunk
        writer.join()
        if self._failure is not None:
            raise self._failure

    def _write(self, write_end: int) -> None:
        try:
            with os.fdopen(write_end, "wb", buffering=_CHUNK) as out:
                write_archive(self._image, self._names, out, omit=self._omit)
        except BrokenPipeError:
            pass  # the reader went away, and knows why
        except BaseException as error:  # raised again where the bytes are read
            self._failure = error
