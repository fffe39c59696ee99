"""Artifacts: manifests that hold something other than an image, and may refer to one (their subject).

Source: OCI image specification 1.1, manifest.md, "Guidelines for Artifact Usage"; OCI distribution specification
1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json

_TAG_OF_DIGEST = re.compile(r"sha256-[0-9a-f]{64}(?:\.[a-z]+)?")

#: The annotation that names the file of a blob.
TITLE = "org.opencontainers.image.title"

EMPTY = b"{}"
EMPTY_DESCRIPTOR = Descriptor(
    media_type="application/vnd.oci.empty.v1+json", digest=Digest.of(EMPTY), size=len(EMPTY)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A manifest and its blobs; equal contents give an equal digest."""

    artifact_type: str
    """A media type that says what it is."""
    contents: tuple[tuple[str, bytes], ...]
    """Media type and bytes of each blob."""
    subject: Descriptor | None = None
    """The manifest that it refers to."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    listed: tuple[Descriptor, ...] = ()
    """Further blobs, stored already, that stay as long as it does."""

    @property
    def manifest(self) -> bytes:
        """The manifest's bytes."""
        # Clients such as oras write a blob to a file of its own title.
        named = {TITLE: self.annotations[TITLE]} if TITLE in self.annotations and len(self.contents) == 1 else {}
        layers = [
            Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data), annotations=named).to_dict()
            for media_type, data in self.contents
        ]
        layers += [each.to_dict() for each in self.listed]
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": self.artifact_type,
            "config": EMPTY_DESCRIPTOR.to_dict(),
            "layers": layers or [EMPTY_DESCRIPTOR.to_dict()],
        }
        if self.subject is not None:
            plain = Descriptor(
                media_type=self.subject.media_type, digest=self.subject.digest, size=self.subject.size
            )
            document["subject"] = plain.to_dict()
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        return canonical_json(document)

    @property
    def digest(self) -> Digest:
        """Of the manifest."""
        return Digest.of(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """All blobs to store before the manifest."""
        return (EMPTY, *(data for _, data in self.contents))

    @property
    def referrer(self) -> Referrer:
        """How lists of referrers describe it."""
        return Referrer(
            digest=self.digest,
            size=len(self.manifest),
            artifact_type=self.artifact_type,
            annotations=self.annotations,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """What a list of referrers says of an artifact."""

    digest: Digest
    size: int
    artifact_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def descriptor(self) -> Descriptor:
        """Of its manifest."""
        return Descriptor(
            media_type=OCI_MANIFEST, digest=self.digest, size=self.size, annotations=self.annotations
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form, as in an index."""
        return {**self.descriptor.to_dict(), "artifactType": self.artifact_type}


def referrers_tag(subject: Digest) -> str:
    """Return the tag of the list of referrers, where a registry keeps none itself."""
    return f"sha256-{subject.hex}"


def is_tag_of_digest(tag: str) -> bool:
    """Whether a tag names a digest, as that of a list of referrers and those of signatures (`.sig`, `.att`) do."""
    return _TAG_OF_DIGEST.fullmatch(tag) is not None


def referrers_index(referrers: Iterable[Referrer]) -> bytes:
    """Write the list of referrers, each once, in the order of their digests."""
    unique = {str(each.digest): each.to_dict() for each in referrers}
    manifests = [unique[digest] for digest in sorted(unique)]
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


def read_referrers(index: bytes) -> tuple[Referrer, ...]:
    """Read a list of referrers.

    Raises:
        ValueError: It is no such list.
    """
    try:
        entries = read_json(index)["manifests"]
        described = [(Descriptor.from_dict(entry), entry.get("artifactType")) for entry in entries]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a list of referrers: {error}") from None
    return tuple(
        Referrer(
            digest=each.digest,
            size=each.size,
            artifact_type=str(artifact_type or each.media_type),
            annotations=each.annotations,
        )
        for each, artifact_type in described
    )


def first_content(manifest: bytes, referrer: Referrer) -> Descriptor:
    """Return the first blob that an artifact's manifest points to.

    Raises:
        InputError: `base-invalid`, there is none.
    """
    try:
        return contents_of(manifest)[0]
    except (ValueError, IndexError) as error:
        raise InputError(
            "base-invalid", f"the artifact {referrer.digest} ({referrer.artifact_type}) has no content"
        ) from error


def contents_of(manifest: bytes) -> tuple[Descriptor, ...]:
    """Return the blobs that an artifact's manifest points to, but for the empty one.

    Raises:
        ValueError: It is no manifest.
    """
    try:
        layers = [Descriptor.from_dict(each) for each in read_json(manifest)["layers"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error}") from None
    return tuple(each for each in layers if each.media_type != EMPTY_DESCRIPTOR.media_type)
