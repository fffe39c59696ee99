"""Evidence is attached and read back, in a layout and a registry; signatures hold for one image and one key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage import attestation, cosign_tags
from mlflow_dbimage.attestation import Evidence
from mlflow_dbimage.backends.signing_keys import signing_key, verifying_key
from mlflow_dbimage.destinations.deployment import Destination, TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.destinations.registry import RegistryDestination
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.evidence import envelope
from mlflow_dbimage.evidence.bill_of_materials import CYCLONEDX_TYPE, SPDX_TYPE
from mlflow_dbimage.evidence.envelope import MEDIA_TYPE as ENVELOPE_TYPE
from mlflow_dbimage.evidence.envelope import attestations_tag
from mlflow_dbimage.evidence.image_signature import signature_of, signature_tag
from mlflow_dbimage.evidence.statement import PREDICATE_ANNOTATION, Statement
from mlflow_dbimage.evidence.tagged_manifest import entries_of
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.artifact import Artifact
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.oci.registry import Registry
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.provenance import provenance
from mlflow_dbimage.verification import PREDICATE_TYPE
from oci_samples import LINUX, small_image
from score_images import record
from services.registry_server import registry_server
from signing_samples import key_pair, openssl

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        yield running.host


@pytest.fixture(params=["layout", "registry", "shared-registry"])
def destination(request: pytest.FixtureRequest, host: str, tmp_path: Path) -> Destination:
    if request.param == "layout":
        return LayoutDestination(tmp_path / "layout", TagScheme(named=True))
    named = request.param == "shared-registry"
    prefix = f"t{abs(hash(str(tmp_path)))}"
    template = "{prefix}" if named else "{prefix}/{name}"
    return RegistryDestination(Registry(host), prefix, template, TagScheme(named=named), LINUX)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return key_pair(tmp_path_factory.mktemp("keys"))


def deployed(destination: Destination, name: str, folder: Path, seed: str = "a") -> tuple[Image, ReferrerStore]:
    image = small_image(folder, seed=seed)
    destination.write(name, image, SilentProgress())
    destination.set_name(name, image, record(base_layers=1))
    store = destination.beside(name)
    assert store is not None
    return image, store


def evidence(image: Image) -> Evidence:
    report = Statement(
        subject_name="churn", subject=image.digest, predicate_type=PREDICATE_TYPE, predicate={"result": "PASSED"}
    )
    bills = ((CYCLONEDX_TYPE, b'{"bomFormat":"CycloneDX"}'), (SPDX_TYPE, b'{"spdxVersion":"SPDX-2.3"}'))
    made = provenance(
        record(base_layers=1),
        image.digest,
        "churn",
        ModelOrigin(run_id="9"),
        "1.0",
        bills=[(kind, Digest.of(data)) for kind, data in bills],
    )
    return Evidence(image=image.descriptor, reference="h.io/churn", bills=bills, statements=(made, report))


def test_unsigned_evidence_is_read_back(destination: Destination, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    image, store = deployed(destination, "churn", tmp_path)
    made = evidence(image)
    for _ in range(2):
        attestation.attach(made, store, None)
    assert len(store.list(image.digest)) == 4
    assert attestation.bill(store, image.digest) == made.bills[0][1]
    assert attestation.bill(store, image.digest, SPDX_TYPE) == made.bills[1][1]
    assert attestation.read_statement(store, image.digest, "provenance") == made.statements[0]
    assert attestation.read_statement(store, image.digest, "report").predicate == {"result": "PASSED"}
    assert not cosign_tags.is_signed(store, image.digest, verifying_key(keys[1]))
    with pytest.raises(InputError, match="no report that is signed by the key"):
        attestation.read_statement(store, image.digest, "report", verifying_key(keys[1]))


def test_signed_evidence_holds_for_its_key_alone(
    destination: Destination, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    image, store = deployed(destination, "churn", tmp_path)
    made = evidence(image)
    for _ in range(2):
        attestation.attach(made, store, signing_key(str(keys[0])))
    assert len(store.list(image.digest)) == 4
    right, wrong = verifying_key(keys[1]), verifying_key(key_pair(tmp_path / "other")[1])
    assert cosign_tags.is_signed(store, image.digest, right)
    assert not cosign_tags.is_signed(store, image.digest, wrong)
    for key in (right, None):
        assert attestation.read_statement(store, image.digest, "report", key) == made.statements[1]
    with pytest.raises(InputError, match="signed by the key"):
        attestation.read_statement(store, image.digest, "report", wrong)


def test_with_a_key_a_bill_counts_that_the_signed_provenance_names(
    destination: Destination, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    image, store = deployed(destination, "churn", tmp_path)
    made, right = evidence(image), verifying_key(keys[1])
    forged = replace(made, bills=tuple((kind, b"forged") for kind, _ in made.bills))
    attestation.attach(forged, store, signing_key(str(keys[0])))
    for kind, _ in made.bills:
        assert attestation.bill(store, image.digest, kind) == b"forged"
        with pytest.raises(InputError, match="no bill of materials that a provenance names") as caught:
            attestation.bill(store, image.digest, kind, right)
        assert caught.value.code == "no-evidence"
    attestation.attach(made, store, None)
    for kind, bill in made.bills:
        assert attestation.bill(store, image.digest, kind, right) == bill
    with pytest.raises(InputError):
        attestation.bill(store, image.digest, CYCLONEDX_TYPE, verifying_key(key_pair(tmp_path / "other")[1]))


def test_a_statement_about_another_image_does_not_count(
    destination: Destination, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    image, store = deployed(destination, "churn", tmp_path / "a")
    other, _ = deployed(destination, "other", tmp_path / "b", seed="b")
    moved = replace(evidence(other), image=image.descriptor)
    attestation.attach(moved, store, signing_key(str(keys[0])))
    with pytest.raises(InputError) as caught:
        attestation.read_statement(store, image.digest, "provenance")
    assert caught.value.code == "no-evidence"


def test_an_envelope_of_another_type_or_that_nobody_can_read_hides_no_statement(
    destination: Destination, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    image, store = deployed(destination, "churn", tmp_path)
    key, made = signing_key(str(keys[0])), evidence(image)
    empty = Artifact(
        artifact_type=ENVELOPE_TYPE,
        contents=(),
        subject=image.descriptor,
        annotations={PREDICATE_ANNOTATION: PREDICATE_TYPE},
    )
    other = envelope.sign("text/plain", made.statements[1].to_bytes(), key)
    for artifact in (empty, replace(empty, contents=((ENVELOPE_TYPE, other.to_bytes()),))):
        store.attach(image.digest, [artifact])
    for opened in (verifying_key(keys[1]), None):
        assert attestation.read_statements(store, image.digest, "report", opened) == ()
    attestation.attach(made, store, key)
    later = replace(made, statements=(replace(made.statements[1], predicate={"result": "WARNED"}),))
    attestation.attach(later, store, key)
    found = attestation.read_statements(store, image.digest, "report", verifying_key(keys[1]))
    assert {each.predicate["result"] for each in found} == {"PASSED", "WARNED"}


def test_openssl_alone_checks_what_lies_where_cosign_looks(
    destination: Destination, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    image, store = deployed(destination, "churn", tmp_path)
    attestation.attach(evidence(image), store, signing_key(str(keys[0])))
    manifest = store.tagged(signature_tag(image.digest))
    assert manifest is not None
    ((payload, signature),) = map(signature_of, entries_of(manifest))
    (tmp_path / "payload").write_bytes(store.blob(payload))
    (tmp_path / "signature").write_bytes(signature)
    check = ("dgst", "-sha256", "-verify", keys[1], "-signature", tmp_path / "signature", tmp_path / "payload")
    assert openssl(*check).stdout == b"Verified OK\n"
    assert json.loads((tmp_path / "payload").read_bytes())["critical"]["image"] == {
        "docker-manifest-digest": str(image.digest)
    }
    attested = store.tagged(attestations_tag(image.digest))
    assert attested is not None
    layers = json.loads(attested)["layers"]
    assert {each["annotations"]["predicateType"] for each in layers} == {
        "https://slsa.dev/provenance/v1",
        PREDICATE_TYPE,
    }


def test_evidence_goes_with_the_last_name_of_its_image(
    destination: Destination, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    image, store = deployed(destination, "churn", tmp_path)
    twin, beside_twin = deployed(destination, "twin", tmp_path)
    assert twin.digest == image.digest
    for each in (store, beside_twin):
        attestation.attach(evidence(image), each, signing_key(str(keys[0])))
    deployment = destination.deployment("churn")
    assert deployment is not None
    assert [tag for tag in deployment.tags if tag.startswith("sha256-")] == []
    assert destination.delete("churn")
    assert cosign_tags.is_signed(beside_twin, image.digest, verifying_key(keys[1]))
    assert destination.delete("twin")
    assert beside_twin.tagged(signature_tag(image.digest)) is None or beside_twin.list(image.digest) == ()
    assert [each.name for each in destination.deployments() if each.name in ("churn", "twin")] == []
