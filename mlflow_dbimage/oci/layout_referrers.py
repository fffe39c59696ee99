"""Artifacts in a layout that refer to an image, under the tag by which clients keep such lists in registries.

Source: OCI distribution specification 1.1, "Referrers Tag Schema"; the image layout has no list of its own.
"""

from __future__ import annotations

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.artifact import Artifact, Referrer, read_referrers, referrers_index, referrers_tag
from mlflow_dbimage.oci.descriptor import OCI_INDEX, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.layout import Layout


class LayoutReferrers:
    """The artifacts of a layout.

    Args:
        layout: The layout.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

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

    def attach(self, artifact: Artifact) -> None:
        """Store an artifact, and list it; an equal one is not listed twice."""
        assert artifact.subject is not None, "what is attached has a subject"
        tag = referrers_tag(artifact.subject.digest)
        index = referrers_index((*self.list(artifact.subject.digest), artifact.referrer))
        self._layout.write_blobs((*artifact.blobs, artifact.manifest, index))
        self._layout.set_tags({tag: Descriptor(media_type=OCI_INDEX, digest=Digest.of(index), size=len(index))})

    def manifest(self, referrer: Referrer) -> bytes:
        """Read the manifest of an artifact."""
        return self._layout.read(referrer.descriptor)
