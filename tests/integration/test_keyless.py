"""Signing without a key: by Sigstore's Python library, against services and verifier of its JavaScript one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import called
from integration.test_attestation import deployed, evidence
from mlflow_dbimage import attestation
from mlflow_dbimage.backends.sigstore_identities import identity, keyless
from mlflow_dbimage.destinations.deployment import TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.evidence import bundle
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from services.sigstore_services import ISSUER, SigstoreServices, sigstore_services, token

pytestmark = pytest.mark.sigstore

OURS, OTHER = "ci@example.com", "eve@example.com"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, npm_packages: Path) -> Iterator[SigstoreServices]:
    with sigstore_services(tmp_path_factory.mktemp("sigstore"), npm_packages) as running:
        yield running


@pytest.fixture(autouse=True)
def surroundings(services: SigstoreServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBIMAGE_SIGSTORE_CONFIG", str(services.config))
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token(OURS))


@pytest.fixture
def layout(tmp_path: Path) -> LayoutDestination:
    return LayoutDestination(tmp_path / "layout", TagScheme(named=True))


@pytest.fixture
def image(layout: LayoutDestination, tmp_path: Path) -> Image:
    return deployed(layout, "churn", tmp_path / "blobs")[0]


def bundles(store: ReferrerStore, image: Image) -> list[bytes]:
    return [store.content(each) for each in store.list(image.digest) if each.artifact_type == bundle.MEDIA_TYPE]


def test_what_is_signed_holds_for_who_has_signed_it_and_both_libraries_say_so(
    services: SigstoreServices, layout: LayoutDestination, image: Image, tmp_path: Path
) -> None:
    store, made = layout.beside("churn"), evidence(image)
    for _ in range(2):  # what is there is not signed again
        attestation.attach(made, store, keyless())
    found = bundles(store, image)
    assert len(found) == 3
    listed = {each.annotations.get("dev.sigstore.bundle.predicateType") for each in store.list(image.digest)}
    assert bundle.SIGNATURE_PREDICATE in listed

    us, another = identity(OURS, ISSUER), identity(OTHER, ISSUER)
    elsewhere = identity(OURS, "https://other.example")
    assert [attestation.is_signed(store, image.digest, each) for each in (us, another, elsewhere)] == [
        True,
        False,
        False,
    ]
    assert attestation.read_statement(store, image.digest, "provenance", us) == made.statements[0]
    assert attestation.read_statement(store, image.digest, "provenance") == made.statements[0]
    assert attestation.bill(store, image.digest, key=us) == made.bills[0][1]
    for stranger in (another, elsewhere):
        with pytest.raises(DbimageError, match="signed by the key"):
            attestation.read_statement(store, image.digest, "provenance", stranger)

    paths = []
    for number, data in enumerate(found):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_bytes(data)
    assert services.verify(OURS, *paths).stdout == "verified 3\n"
    refused = services.verify(OTHER, *paths)
    assert (refused.returncode, "certificate identity error" in refused.stderr) == (1, True)


def test_a_bundle_that_was_changed_is_nobodys(layout: LayoutDestination, image: Image) -> None:
    store = layout.beside("churn")
    attestation.attach(evidence(image), store, keyless())
    us, (first, *_) = identity(OURS, ISSUER), bundles(store, image)
    assert us.opened(first) is not None
    document = json.loads(first)
    signature = document["dsseEnvelope"]["signatures"][0]
    other = json.loads(bundles(store, image)[1])
    changed = [
        {**document, "dsseEnvelope": {**document["dsseEnvelope"], "payload": "e30="}},
        {**document, "dsseEnvelope": {**document["dsseEnvelope"], "signatures": []}},
        {**document, "dsseEnvelope": {**document["dsseEnvelope"], "signatures": [signature, signature]}},
        {**document, "verificationMaterial": other["verificationMaterial"]},
        {**document, "verificationMaterial": {**document["verificationMaterial"], "tlogEntries": []}},
        {"mediaType": document["mediaType"]},
        [],
    ]
    assert [us.opened(json.dumps(each).encode()) for each in changed] == [None] * len(changed)
    assert us.opened(b"\xff") is None


def test_what_signs_one_image_signs_no_other(layout: LayoutDestination, image: Image, tmp_path: Path) -> None:
    store = layout.beside("churn")
    attestation.attach(evidence(image), store, keyless())
    twin, beside = deployed(layout, "twin", tmp_path / "twin", seed="b")
    made = replace(evidence(image), image=twin.descriptor)
    attestation.attach(made, beside, keyless())  # statements of another image, attached to this one
    us = identity(OURS, ISSUER)
    with pytest.raises(DbimageError, match="no provenance"):
        attestation.read_statement(beside, twin.digest, "provenance", us)


def test_the_command_tells_who_has_signed(layout: LayoutDestination, image: Image, tmp_path: Path) -> None:
    attestation.attach(evidence(image), layout.beside("churn"), keyless())
    target = ("-t", f"oci:{tmp_path / 'layout'}")
    who = ("--identity", OURS, "--issuer", ISSUER)
    assert called("dbimage", "trust", "churn", *target, *who).returncode == 0
    assert called("dbimage", "trust", "churn", *target, "--identity", OTHER, "--issuer", ISSUER).returncode == 6
    assert called("dbimage", "trust", "churn", *target, "--identity", OURS).returncode == 2
    shown = called("dbimage", "inspect", "churn", *target, "--provenance", *who)
    assert json.loads(shown.stdout)["predicateType"] == "https://slsa.dev/provenance/v1"


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("SIGSTORE_ID_TOKEN", "nonsense", "bad-key"),
        ("SIGSTORE_ID_TOKEN", "", "bad-key"),
        ("DBIMAGE_SIGSTORE_CONFIG", "/nowhere/config.json", "bad-key"),
        ("DBIMAGE_SIGSTORE_CONFIG", __file__, "bad-key"),
    ],
)
def test_what_cannot_sign_says_so_at_once(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(DbimageError) as caught:
        keyless()
    assert caught.value.code == code


def test_a_service_that_does_not_answer_is_told(
    services: SigstoreServices, layout: LayoutDestination, image: Image, tmp_path: Path, monkeypatch
) -> None:
    config = json.loads(services.config.read_text())
    config["signingConfig"]["caUrls"][0]["url"] = "http://127.0.0.1:9"
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DBIMAGE_SIGSTORE_CONFIG", str(tmp_path / "config.json"))
    with pytest.raises(DbimageError) as caught:
        attestation.attach(evidence(image), layout.beside("churn"), keyless())
    assert caught.value.code == "signing-failed"
    assert token(OURS) not in str(caught.value)
