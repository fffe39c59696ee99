"""Blobs by digest in a directory; `test_oci_layout` shows them at work."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.blobs import Blobs
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, Descriptor
from mlflow_dbimage.oci.digest import Digest

ABC = Descriptor(media_type=OCI_LAYER_TAR, digest=Digest.of(b"abc"), size=3)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path)
    made.create()
    return made


def test_a_blob_is_written_once_its_bytes_are_right(blobs: Blobs, tmp_path: Path) -> None:
    sizes: list[int] = []
    with pytest.raises(VerificationError, match="has the digest"):
        blobs.add(io.BytesIO(b"abd"), ABC, sizes.append)
    assert not blobs.has(ABC.digest)
    blobs.add(io.BytesIO(b"abc"), ABC, sizes.append)
    assert sizes == [3, 3]
    path = tmp_path / "blobs" / "sha256" / ABC.digest.hex
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"abc", 0o644)
    assert [each.name for each in tmp_path.iterdir()] == ["blobs"]


def test_only_a_blob_of_the_right_size_is_kept(blobs: Blobs, tmp_path: Path) -> None:
    assert not blobs.keep(ABC)
    blobs.add_bytes(b"abc")
    assert blobs.keep(ABC)
    (tmp_path / "blobs" / "sha256" / ABC.digest.hex).write_bytes(b"ab")
    assert not blobs.keep(ABC)


def test_what_is_read_is_verified(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the blob"):
        blobs.read(ABC.digest)
    blobs.add_bytes(b"abc")
    assert blobs.read(ABC.digest) == b"abc"
    (tmp_path / "blobs" / "sha256" / ABC.digest.hex).write_bytes(b"abd")
    with pytest.raises(VerificationError, match="has the digest"):
        blobs.read(ABC.digest)


def test_what_is_reached_or_young_is_not_collected(blobs: Blobs) -> None:
    blobs.add_bytes(b"abc")
    blobs.add_bytes(b"other")
    assert blobs.collect(set(), 60.0) == 0
    assert blobs.collect({ABC.digest.hex}, 0.0) == 5
    assert blobs.has(ABC.digest)
