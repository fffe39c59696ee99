"""Artifacts in a layout that refer to an image, under the tag by which clients keep such lists in registries.

Source: OCI distribution specification 1.1, "Referrers Tag Schema"; the image layout has no list of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.artifact import (
    Artifact,
    Referrer,
    first_content,
    read_referrers,
    referrers_index,
    referrers_tag,
)
from mlflow_dbimage.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.layout import Layout


class LayoutReferrers:
    """The artifacts of a layout.

    Args:
        layout: The layout.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def place(self) -> str:
        """Nothing: a layout is a folder of this machine."""
        return ""

    def list(self, subject: Digest) -> tuple[Referrer, ...]:
        """List what refers to a manifest.

        Raises:
            InputError: `base-invalid`, the list cannot be read.
        """
        noted = self._layout.tags().get(referrers_tag(subject))
        if noted is None:
            return ()
        try:
            return read_referrers(self._layout.read(noted))
        except ValueError as error:
            raise InputError("base-invalid", f"what refers to {subject} is {error}") from error

    def attach(self, subject: Digest, artifacts: Sequence[Artifact]) -> None:
        """Store artifacts that refer to a manifest, and list them; an equal one is not listed twice."""
        index = referrers_index((*self.list(subject), *(each.referrer for each in artifacts)))
        blobs = (blob for each in artifacts for blob in (*each.blobs, each.manifest))
        self._layout.write_blobs((*blobs, index))
        described = Descriptor(media_type=OCI_INDEX, digest=Digest.of(index), size=len(index))
        self._layout.set_tags({referrers_tag(subject): described})

    def content(self, referrer: Referrer) -> bytes:
        """Read the first blob of an artifact.

        Raises:
            InputError: `base-invalid`, it has none.
        """
        return self._layout.read(first_content(self._layout.read(referrer.descriptor), referrer))

    def put_tagged(self, tag: str, manifest: bytes, blobs: Iterable[bytes]) -> None:
        """Store a manifest of a form of its own under a tag, after its blobs."""
        self._layout.write_blobs((*blobs, manifest))
        descriptor = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(manifest), size=len(manifest))
        self._layout.set_tags({tag: descriptor})

    def tagged(self, tag: str) -> bytes | None:
        """Read a manifest by its tag; None where there is none."""
        noted = self._layout.tags().get(tag)
        return None if noted is None else self._layout.read(noted)

    def blob(self, descriptor: Descriptor) -> bytes:
        """Read a small blob."""
        return self._layout.read(descriptor)
