"""A registry that takes no artifacts is noted where nobody wants a signature; one that failed is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.faulty_registry import Fault, FaultyRegistry, error, faulty_registry
from mlflow_dbimage import attestation
from mlflow_dbimage.attestation import Evidence
from mlflow_dbimage.backends.signing_keys import signing_key
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.evidence.signing_key import KeyPair
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.registry_referrers import RepositoryReferrers
from mlflow_dbimage.oci.registry_transport import Clock
from oci_samples import small_image
from signing_samples import key_pair

ALWAYS = 1000


def attached(folder: Path, fault: Fault, key: KeyPair | None = None) -> tuple[str, ...]:
    image = small_image(folder)
    bills = (("application/vnd.cyclonedx+json", b"{}"),)
    evidence = Evidence(image=image.descriptor, reference="h.io/churn", bills=bills, statements=())
    with faulty_registry(FaultyRegistry(faults=[fault])) as running:
        registry = Registry(running.host, clock=Clock(sleep=lambda seconds: None))
        store = RepositoryReferrers(registry, Repository(registry, "churn"))
        notes = attestation.attach_if_taken(evidence, store, key)
        assert notes or store.list(image.digest)
        return notes


def put_manifest(status: int, times: int = ALWAYS) -> Fault:
    said = error(status, "MANIFEST_INVALID", "unknown media type")
    return Fault(method="PUT", path="/manifests/", times=times, reply=said)


@pytest.mark.parametrize("status", [400, 405, 415, 501])
def test_a_registry_that_takes_no_artifacts_is_noted(tmp_path: Path, status: int) -> None:
    (note,) = attached(tmp_path, put_manifest(status))
    assert note.startswith("nothing is attached to the image: the registry")
    assert "unknown media type" in note
    with pytest.raises(ServiceError) as caught:
        attached(tmp_path, put_manifest(status), signing_key(str(key_pair(tmp_path)[0])))
    assert caught.value.code == "registry-failed"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_fails_is_asked_again_and_is_no_note(tmp_path: Path, status: int) -> None:
    assert attached(tmp_path, put_manifest(status, times=1)) == ()
    with pytest.raises(ServiceError) as caught:
        attached(tmp_path, put_manifest(status))
    assert caught.value.code == "registry-failed"


def test_a_registry_that_refuses_the_credentials_is_no_note(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        attached(tmp_path, put_manifest(403))
    assert caught.value.code == "registry-denied"
