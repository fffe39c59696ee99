"""Blobs by digest below a layout's directory: written aside and renamed, checked when written and when read.

Source: OCI image specification 1.1, image-layout.md, "Blobs".
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.verified import verified

_CHUNK = 1 << 20
_ASIDE = ".aside-"
#: Registries refuse larger manifests (OCI distribution specification 1.1, "Pushing Manifests").
_MOST_DOCUMENT = 4 << 20


class Blobs:
    """The blobs of a layout.

    Args:
        root: Directory of the layout.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "blobs" / "sha256"

    def create(self) -> None:
        """Make the directory."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def has(self, digest: Digest) -> bool:
        """Whether there is a blob of that name."""
        return self._path(digest).is_file()

    def keep(self, descriptor: Descriptor) -> bool:
        """Make a blob young again, and say whether it is there with the right size."""
        path = self._path(descriptor.digest)
        try:
            if path.stat().st_size != descriptor.size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob; it is verified as it is read.

        Raises:
            InputError: `base-invalid`, it is not there.
        """
        try:
            return verified(self._path(descriptor.digest).open("rb"), descriptor, f"oci:{self._root}")
        except FileNotFoundError:
            raise self._lacking(descriptor.digest) from None

    def read(self, digest: Digest) -> bytes:
        """Read a manifest, index or config.

        Raises:
            InputError: `base-invalid`, it is not there, or too large to be one.
            VerificationError: `digest-mismatch`.
        """
        try:
            size = self._path(digest).stat().st_size
        except FileNotFoundError:
            raise self._lacking(digest) from None
        if size > _MOST_DOCUMENT:
            raise InputError("base-invalid", f"the document {digest} in `oci:{self._root}` has {size} bytes")
        descriptor = Descriptor(media_type="application/json", digest=digest, size=size)
        with self.open(descriptor) as stream:
            return stream.read()

    def add(self, stream: BinaryIO, descriptor: Descriptor, report: Callable[[int], None]) -> None:
        """Write a blob.

        Raises:
            VerificationError: `digest-mismatch`, the bytes are others; nothing is written then.
        """
        state = hashlib.sha256()
        with self.aside() as out:
            while chunk := stream.read(_CHUNK):
                state.update(chunk)
                out.write(chunk)
                report(len(chunk))
            if state.hexdigest() != descriptor.digest.hex:
                raise VerificationError(
                    "digest-mismatch",
                    f"a blob has the digest sha256:{state.hexdigest()}, not {descriptor.digest}",
                )
            self.rename(out, self._path(descriptor.digest))

    def add_bytes(self, data: bytes) -> None:
        """Write a small blob, again if it is there: so it is young and whole."""
        descriptor = Descriptor(media_type="application/json", digest=Digest.of(data), size=len(data))
        self.add(io.BytesIO(data), descriptor, lambda size: None)

    @contextlib.contextmanager
    def aside(self) -> Iterator[BinaryIO]:
        """Open a temporary file beside the layout's; it is gone afterwards unless it was renamed."""
        with tempfile.NamedTemporaryFile(dir=self._root, prefix=_ASIDE, delete=False) as out:
            try:
                yield out  # type: ignore[misc]  # a wrapper, and a BinaryIO in all but name
            finally:
                Path(out.name).unlink(missing_ok=True)

    @staticmethod
    def rename(out: BinaryIO, target: Path) -> None:
        """Give a temporary file its place."""
        out.flush()
        path = Path(out.name)
        path.chmod(0o644)
        path.replace(target)

    def collect(self, reached: set[str], grace: float) -> int:
        """Remove blobs that are not reached, and what killed writers left, but nothing younger than `grace`.

        Args:
            reached: Digests, as hexadecimal digits, of what stays.
            grace: In seconds.

        Returns:
            Bytes that this freed.
        """
        freed = 0
        unreached = [path for path in self._folder.glob("*") if path.name not in reached]
        for path in [*unreached, *self._root.glob(f"{_ASIDE}*")]:
            with contextlib.suppress(FileNotFoundError):  # a writer has just renamed it
                status = path.stat()
                if time.time() - status.st_mtime >= grace:
                    path.unlink()
                    freed += status.st_size
        return freed

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest.hex

    def _lacking(self, digest: Digest) -> InputError:
        return InputError("base-invalid", f"`oci:{self._root}` lacks the blob {digest}")
