"""Artifacts and lists of referrers: equal contents, equal bytes; what is no list is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.oci.artifact import (
    EMPTY,
    Artifact,
    Referrer,
    contents_of,
    is_tag_of_digest,
    read_referrers,
    referrers_index,
    referrers_tag,
)
from mlflow_dbimage.oci.descriptor import OCI_MANIFEST, Descriptor
from mlflow_dbimage.oci.digest import Digest

SUBJECT = Descriptor(
    media_type=OCI_MANIFEST, digest=Digest.of(b"image"), size=5, annotations={"not": "of interest"}
)


def artifact(data: bytes = b"{}\n", **annotations: str) -> Artifact:
    return Artifact(
        artifact_type="application/vnd.example.sbom",
        contents=(("application/json", data),),
        subject=SUBJECT,
        annotations=annotations,
    )


def test_a_manifest_names_its_subject_and_its_type() -> None:
    document = json.loads(artifact(b="2", a="1").manifest)
    assert document["artifactType"] == "application/vnd.example.sbom"
    assert document["subject"] == {"mediaType": OCI_MANIFEST, "digest": str(SUBJECT.digest), "size": 5}
    assert document["config"]["digest"] == str(Digest.of(EMPTY))
    assert list(document["annotations"]) == ["a", "b"]


def test_its_blobs_are_those_that_the_manifest_points_to() -> None:
    made = artifact(b"something")
    document = json.loads(made.manifest)
    wanted = {each["digest"] for each in (document["config"], *document["layers"])}
    assert {str(Digest.of(blob)) for blob in made.blobs} == wanted
    assert [each.digest for each in contents_of(made.manifest)] == [Digest.of(b"something")]


def test_one_without_content_has_the_empty_blob_in_its_place() -> None:
    made = Artifact(artifact_type="application/vnd.example", contents=())
    document = json.loads(made.manifest)
    assert "subject" not in document
    assert document["layers"] == [document["config"]]
    assert contents_of(made.manifest) == ()


referrers = st.builds(
    Referrer,
    digest=st.binary(min_size=1, max_size=8).map(Digest.of),
    size=st.integers(0, 1 << 40),
    artifact_type=st.text(min_size=1, max_size=20),
    annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


@given(st.lists(referrers, max_size=6, unique_by=lambda each: each.digest))
def test_a_list_comes_back_in_one_order(listed: list[Referrer]) -> None:
    index = referrers_index(listed)
    assert referrers_index(reversed(listed)) == index
    assert referrers_index((*listed, *listed)) == index
    assert list(read_referrers(index)) == sorted(listed, key=lambda each: str(each.digest))


@pytest.mark.parametrize(
    "index", [b"", b"{}", b"[]", b"null", b'{"manifests": [{}]}', b'{"manifests": [1]}', b"\xff"]
)
def test_what_is_no_list_is_refused(index: bytes) -> None:
    with pytest.raises(ValueError):
        read_referrers(index)


@pytest.mark.parametrize("manifest", [b"{}", b"[]", b'{"layers": [{}]}', b'{"layers": 1}'])
def test_what_is_no_manifest_is_refused(manifest: bytes) -> None:
    with pytest.raises(ValueError):
        contents_of(manifest)


def test_the_tag_of_a_list_is_known() -> None:
    tag = referrers_tag(SUBJECT.digest)
    assert tag == "sha256-" + SUBJECT.digest.hex
    assert is_tag_of_digest(tag)
    assert is_tag_of_digest(f"{tag}.sig")
    assert not is_tag_of_digest("sha256-abc")
    assert not is_tag_of_digest("v3-0123456789ab")
