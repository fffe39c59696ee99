"""Where what lies beside images is kept, whatever the medium."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from mlflow_dbimage.oci.artifact import Artifact, Referrer
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest


class ReferrerStore(Protocol):
    """Keeps artifacts that refer to images, and manifests under tags of their own."""

    @property
    def place(self) -> str:
        """How people call where the images are; empty for a place of this machine alone."""

    def list(self, subject: Digest) -> tuple[Referrer, ...]:
        """List what refers to a manifest."""

    def attach(self, subject: Digest, artifacts: Sequence[Artifact]) -> None:
        """Store artifacts that refer to a manifest, and list them under it."""

    def content(self, referrer: Referrer) -> bytes:
        """Read the first blob of an artifact."""

    def put_tagged(self, tag: str, manifest: bytes, blobs: Iterable[bytes]) -> None:
        """Store a manifest under a tag, after its blobs."""

    def tagged(self, tag: str) -> bytes | None:
        """Read a manifest by its tag; None where there is none."""

    def blob(self, descriptor: Descriptor) -> bytes:
        """Read a small blob."""
