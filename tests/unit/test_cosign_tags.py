"""Tags where cosign looks keep what others have signed, and have one signature and statement of our own key."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage import cosign_tags
from mlflow_dbimage.backends.signing_keys import signing_key
from mlflow_dbimage.evidence.envelope import attestations_tag
from mlflow_dbimage.evidence.image_signature import signature_tag
from mlflow_dbimage.evidence.signing_key import KeyPair
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.evidence.tagged_manifest import entries_of, tagged_manifest
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.layout_referrers import LayoutReferrers
from signing_samples import key_pair

IMAGE = Digest.of(b"image")
REPORT = Statement(subject_name="c", subject=IMAGE, predicate_type="report", predicate={"result": "PASSED"})
PROVENANCE = replace(REPORT, predicate_type="provenance", predicate={})
SIGNATURES, ATTESTATIONS = signature_tag(IMAGE), attestations_tag(IMAGE)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeyPair, KeyPair]:
    folder = tmp_path_factory.mktemp("keys")
    ours, others = (signing_key(str(key_pair(folder / name)[0])) for name in ("ours", "others"))
    return ours, others


@pytest.fixture
def store(tmp_path: Path) -> LayoutReferrers:
    return LayoutReferrers(Layout(tmp_path))


def entries(store: LayoutReferrers, tag: str) -> list[dict]:
    manifest = store.tagged(tag)
    assert manifest is not None
    config = json.loads(store.blob(Descriptor.from_dict(json.loads(manifest)["config"])))
    listed = [dict(each) for each in entries_of(manifest)]
    assert config["rootfs"]["diff_ids"] == [each["digest"] for each in listed]
    return listed


def put_of_another_tool(store: LayoutReferrers, tag: str) -> dict:
    made = tagged_manifest([("application/vnd.example", b"theirs", {"dev.sigstore.cosign/bundle": "{}"})])
    store.put_tagged(tag, made.manifest, made.blobs)
    return entries(store, tag)[0]


def test_signatures_of_others_stay_and_ours_is_there_once(
    store: LayoutReferrers, keys: tuple[KeyPair, KeyPair]
) -> None:
    ours, others = keys
    strange = put_of_another_tool(store, SIGNATURES)
    cosign_tags.sign_image(store, IMAGE, "h.io/churn", others)
    theirs = entries(store, SIGNATURES)
    assert len(theirs) == 2
    assert not cosign_tags.is_signed(store, IMAGE, ours)
    for reference in ("h.io/churn", "h.io/churn", "h.io/renamed"):
        cosign_tags.sign_image(store, IMAGE, reference, ours)
        assert entries(store, SIGNATURES)[:2] == theirs
        assert len(entries(store, SIGNATURES)) == 3
    assert theirs[0] == strange
    assert cosign_tags.is_signed(store, IMAGE, ours)
    assert cosign_tags.is_signed(store, IMAGE, others)
    assert not cosign_tags.is_signed(store, Digest.of(b"other"), ours)


def test_what_is_signed_before_is_not_signed_again(store: LayoutReferrers, keys: tuple[KeyPair, KeyPair]) -> None:
    ours, _ = keys

    def both() -> tuple[bytes | None, ...]:
        cosign_tags.sign_image(store, IMAGE, "h.io/churn", ours)
        cosign_tags.seal(store, IMAGE, [PROVENANCE, REPORT], ours)
        return store.tagged(SIGNATURES), store.tagged(ATTESTATIONS)

    assert both() == both()


def test_statements_of_others_stay_and_ours_are_there_once(
    store: LayoutReferrers, keys: tuple[KeyPair, KeyPair]
) -> None:
    ours, others = keys
    put_of_another_tool(store, ATTESTATIONS)
    cosign_tags.seal(store, IMAGE, [REPORT], others)
    theirs = entries(store, ATTESTATIONS)
    first = dict(cosign_tags.seal(store, IMAGE, [PROVENANCE, REPORT], ours))
    assert len(entries(store, ATTESTATIONS)) == 4
    later = replace(REPORT, predicate={"result": "WARNED"})
    second = dict(cosign_tags.seal(store, IMAGE, [PROVENANCE, later], ours))
    assert second["provenance"] == first["provenance"]
    assert second["report"].payload == later.to_bytes()
    found = entries(store, ATTESTATIONS)
    assert found[:2] == theirs
    kinds = [each["annotations"]["predicateType"] for each in found[2:]]
    assert kinds == ["provenance", "report"]
    cosign_tags.seal(store, IMAGE, [PROVENANCE], ours)
    assert len(entries(store, ATTESTATIONS)) == 4
