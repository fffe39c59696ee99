"""Tombstones: what a tag points to where a registry deletes no tags, only images with all their tags."""

from __future__ import annotations

from mlflow_dbimage.oci.artifact import Artifact
from mlflow_dbimage.oci.documents import read_json

_TYPE = "application/vnd.dbimage.tombstone.v1"


def is_tombstone(manifest: bytes) -> bool:
    """Whether a manifest is what a deleted tag was moved to."""
    try:
        return bool(read_json(manifest).get("artifactType") == _TYPE)
    except (ValueError, AttributeError):
        return False


def tombstone(tag: str) -> Artifact:
    """Return what a deleted tag is moved to."""
    return Artifact(artifact_type=_TYPE, contents=(), annotations={"dev.dbimage.deleted-tag": tag})
