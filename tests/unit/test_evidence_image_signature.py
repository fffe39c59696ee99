"""Signatures of images in cosign's form: of one image, by one key, and checkable by openssl."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.signing_keys import signing_key, verifying_key
from mlflow_dbimage.evidence.image_signature import (
    ImageSignature,
    sign,
    signature_of,
    signature_tag,
    to_manifest,
)
from mlflow_dbimage.evidence.tagged_manifest import SIGNATURE_ANNOTATION, entries_of
from mlflow_dbimage.oci.digest import Digest
from signing_samples import key_pair, openssl

IMAGE, OTHER = Digest.of(b"image"), Digest.of(b"other")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return key_pair(tmp_path_factory.mktemp("keys"))


def test_it_holds_for_its_image_and_key_alone(keys: tuple[Path, Path], tmp_path: Path) -> None:
    made = sign(IMAGE, "registry.example/churn", signing_key(str(keys[0])))
    key = verifying_key(keys[1])
    assert made.subject == IMAGE
    assert made.verified_by(key, IMAGE)
    assert not made.verified_by(key, OTHER)
    assert not made.verified_by(verifying_key(key_pair(tmp_path)[1]), IMAGE)
    other = made.payload.replace(IMAGE.hex.encode(), OTHER.hex.encode())
    assert not replace(made, payload=other).verified_by(key, OTHER)
    assert not replace(made, payload=b"{}").verified_by(key, IMAGE)


def test_the_document_is_as_cosign_writes_it(keys: tuple[Path, Path]) -> None:
    document = json.loads(sign(IMAGE, "registry.example/churn", signing_key(str(keys[0]))).payload)
    assert document == {
        "critical": {
            "identity": {"docker-reference": "registry.example/churn"},
            "image": {"docker-manifest-digest": str(IMAGE)},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    assert signature_tag(IMAGE) == f"sha256-{IMAGE.hex}.sig"


def test_openssl_alone_checks_it(keys: tuple[Path, Path], tmp_path: Path) -> None:
    made = sign(IMAGE, "registry.example/churn", signing_key(str(keys[0])))
    (tmp_path / "payload").write_bytes(made.payload)
    (tmp_path / "signature").write_bytes(made.signature)
    check = ("dgst", "-sha256", "-verify", keys[1], "-signature", tmp_path / "signature", tmp_path / "payload")
    assert openssl(*check).stdout == b"Verified OK\n"


def test_a_manifest_lists_signatures_and_has_all_its_blobs(keys: tuple[Path, Path]) -> None:
    made = [sign(IMAGE, reference, signing_key(str(keys[0]))) for reference in ("a.example/x", "b.example/x")]
    stored = to_manifest(made)
    document = json.loads(stored.manifest)
    blobs = {str(Digest.of(blob)): blob for blob in stored.blobs}
    assert {each["digest"] for each in (document["config"], *document["layers"])} == blobs.keys()
    read = [
        ImageSignature(payload=blobs[str(descriptor.digest)], signature=signature)
        for descriptor, signature in map(signature_of, entries_of(stored.manifest))
    ]
    assert read == made


@pytest.mark.parametrize("manifest", [b"", b"{}", b'{"layers": [{}]}', b'{"layers": 1}', b'{"layers": [1]}'])
def test_what_is_no_manifest_has_no_entries(manifest: bytes) -> None:
    assert entries_of(manifest) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": "application/vnd.example"},
        {"annotations": {}},
        {"annotations": {SIGNATURE_ANNOTATION: "*"}},
        {"size": "1"},
    ],
)
def test_what_is_no_signature_is_refused(keys: tuple[Path, Path], change: dict) -> None:
    made = to_manifest([sign(IMAGE, "a.example/x", signing_key(str(keys[0])))])
    (entry,) = entries_of(made.manifest)
    signature_of(entry)
    with pytest.raises(ValueError):
        signature_of({**entry, **change})


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"critical": {"type": "other"}}', b'{"critical": 1}'])
def test_what_names_no_image_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        _ = ImageSignature(payload=payload, signature=b"").subject
