"""Tombstones of tags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.tombstone import is_tombstone, tombstone
from oci_samples import small_image


def test_a_tombstone_is_known_and_each_tag_has_its_own() -> None:
    assert is_tombstone(tombstone("v1").manifest)
    assert tombstone("v1").digest != tombstone("v2").digest
    assert tombstone("v1").digest == tombstone("v1").digest


def test_it_is_a_whole_manifest() -> None:
    document = json.loads(tombstone("v1").manifest)
    blobs = [document["config"], *document["layers"]]
    assert {(each["digest"], each["size"]) for each in blobs} == {(str(Digest.of(b"{}")), 2)}


@pytest.mark.parametrize("manifest", [b"", b"[]", b"null", b"{}", b'{"artifactType": "other"}', b"\xff"])
def test_nothing_else_is_one(manifest: bytes) -> None:
    assert not is_tombstone(manifest)


def test_an_image_is_none(tmp_path: Path) -> None:
    assert not is_tombstone(small_image(tmp_path).manifest)
