"""Members of archives; `test_oci_docker_archive` shows them at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.archive_members import find_member, open_part, opened_archive, read_document
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, Descriptor
from mlflow_dbimage.oci.digest import Digest
from oci_samples import foreign_tar


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.tar"
    members = [("x", None), ("x/file", b"abc"), ("y/link", "../x/file"), ("up", "../../../x/file"), ("to", "x")]
    made.write_bytes(foreign_tar(members))
    return made


@pytest.mark.parametrize("name", ["x/file", "y/link", "up"])
def test_links_are_followed_inside_the_archive_alone(name: str, path: Path) -> None:
    with opened_archive(path) as archive:
        assert find_member(archive, name).name == "x/file"
        assert read_document(archive, name) == b"abc"


@pytest.mark.parametrize(("name", "reason"), [("x", "is no file"), ("to", "is no file"), ("z", "it lacks `z`")])
def test_what_is_no_file_is_told(name: str, reason: str, path: Path) -> None:
    with pytest.raises(InputError, match=reason) as caught, opened_archive(path) as archive:
        read_document(archive, name)
    assert str(path) in caught.value.message


def test_a_part_is_read_in_its_place_and_verified(path: Path) -> None:
    descriptor = Descriptor(media_type=OCI_LAYER_TAR, digest=Digest.of(b"abc"), size=3)
    with opened_archive(path) as archive:
        offset = find_member(archive, "x/file").offset_data
    with open_part(path, offset, descriptor) as stream:
        assert stream.read() == b"abc"
    with open_part(path, offset + 1, descriptor) as stream, pytest.raises(VerificationError):
        stream.read()
