"""Manifests in the form in which cosign keeps signatures and attestations: an image's, under a tag of its own.

Source: sigstore/cosign, `specs/SIGNATURE_SPEC.md` and `specs/ATTESTATION_SPEC.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_dbimage.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import canonical_json

#: The annotation that has a signature in base64; of an envelope, which has its own, it is empty.
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedManifest:
    """A manifest, and the blobs to store before it."""

    manifest: bytes
    blobs: tuple[bytes, ...]


def tagged_manifest(contents: Iterable[tuple[str, bytes, Mapping[str, str]]]) -> TaggedManifest:
    """Return the manifest of some documents.

    Args:
        contents: Media type, bytes and annotations of each.
    """
    kept = tuple(contents)
    diff_ids = [str(Digest.of(data)) for _, data, _ in kept]
    config = canonical_json(
        {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    )
    layers = [
        Descriptor(
            media_type=media_type, digest=Digest.of(data), size=len(data), annotations=annotations
        ).to_dict()
        for media_type, data, annotations in kept
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size=len(config)).to_dict(),
        "layers": layers,
    }
    return TaggedManifest(manifest=canonical_json(manifest), blobs=(config, *(data for _, data, _ in kept)))
