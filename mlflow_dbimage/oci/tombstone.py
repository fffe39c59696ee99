"""Tombstones: what a tag points to where a registry deletes no tags, only images with all their tags."""

from __future__ import annotations

import json

from mlflow_dbimage.oci.descriptor import OCI_MANIFEST, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import canonical_json

#: The empty blob of an artifact without content (OCI image specification 1.1, manifest.md).
EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_TYPE = "application/vnd.dbimage.tombstone.v1"


def is_tombstone(manifest: bytes) -> bool:
    """Whether a manifest is what a deleted tag was moved to."""
    try:
        return bool(json.loads(manifest).get("artifactType") == _TYPE)
    except (ValueError, AttributeError):
        return False


def tombstone(tag: str) -> bytes:
    """Return the manifest that a deleted tag is moved to."""
    empty = Descriptor(media_type=_EMPTY_TYPE, digest=Digest.of(EMPTY), size=len(EMPTY)).to_dict()
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": _TYPE,
            "config": empty,
            "layers": [empty],
            "annotations": {"dev.dbimage.deleted-tag": tag},
        }
    )
