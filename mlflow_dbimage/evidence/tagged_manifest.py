"""Manifests in the form in which cosign keeps signatures and attestations: an image's, under a tag of its own.

Source: sigstore/cosign, `specs/SIGNATURE_SPEC.md` and `specs/ATTESTATION_SPEC.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json

#: The annotation that has a signature in base64; of an envelope, which has its own, it is empty.
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedManifest:
    """A manifest, and the blobs to store before it."""

    manifest: bytes
    blobs: tuple[bytes, ...]


def tagged_manifest(
    contents: Iterable[tuple[str, bytes, Mapping[str, str]]], before: Sequence[Mapping[str, Any]] = ()
) -> TaggedManifest:
    """Return the manifest of some documents.

    Args:
        contents: Media type, bytes and annotations of each.
        before: Entries of others, as `entries_of` gives them, that come first; their blobs are there.
    """
    kept = tuple(contents)
    own = [
        Descriptor(
            media_type=media_type, digest=Digest.of(data), size=len(data), annotations=annotations
        ).to_dict()
        for media_type, data, annotations in kept
    ]
    layers = [*map(dict, before), *own]
    diff_ids = [str(each["digest"]) for each in layers]  # nothing is compressed
    config = canonical_json(
        {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size=len(config)).to_dict(),
        "layers": layers,
    }
    return TaggedManifest(manifest=canonical_json(manifest), blobs=(config, *(data for _, data, _ in kept)))


def entries_of(manifest: bytes) -> tuple[Mapping[str, Any], ...]:
    """Return the entries of such a manifest as they are; none of what is no such manifest."""
    try:
        layers = read_json(manifest)["layers"]
        return tuple(each for each in layers if isinstance(each["digest"], str))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
