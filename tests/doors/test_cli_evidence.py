"""`dbimage inspect` shows what is attached to an image, and `dbimage scan` holds it against advisories."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from command_line import called, typed
from mlflow_dbimage import attestation
from mlflow_dbimage.attestation import Evidence
from mlflow_dbimage.backends.signing_keys import signing_key
from mlflow_dbimage.destinations.deployment import TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.evidence.bill_of_materials import (
    CYCLONEDX_TYPE,
    SPDX_TYPE,
    Contents,
    Package,
    cyclonedx,
    pip_purl,
    spdx,
)
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.provenance import provenance
from mlflow_dbimage.verification import PREDICATE_TYPE
from oci_samples import small_image
from score_images import record
from signing_samples import key_pair


def contents_of(image: Image, *names: str) -> Contents:
    packages = tuple(
        Package(manager="pip", name=name, version="1.0", purl=pip_purl(name, "1.0")) for name in names
    )
    return Contents(
        model_name="m",
        model_version="1",
        model_uri="models:/m/1",
        model_digest="sha256:" + "0" * 64,
        image=image.digest,
        packages=packages,
    )


def evidence_of(image: Image) -> Evidence:
    contents = contents_of(image, "toy", "sound")
    bills = ((CYCLONEDX_TYPE, cyclonedx(contents, "1.0")), (SPDX_TYPE, spdx(contents, "1.0")))
    named = [(kind, Digest.of(data)) for kind, data in bills]
    made = provenance(record(base_layers=1), image.digest, "churn", ModelOrigin(), "1.0", bills=named)
    report = Statement(
        subject_name="churn", subject=image.digest, predicate_type=PREDICATE_TYPE, predicate={"result": "PASSED"}
    )
    return Evidence(image=image.descriptor, reference="churn", bills=bills, statements=(made, report))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with the signed images `churn` and `swapped`, whose bill is forged, and `bare` without evidence."""
    folder = tmp_path_factory.mktemp("evidence")
    destination = LayoutDestination(folder / "images", TagScheme(named=True))
    key = signing_key(str(key_pair(folder)[0]))
    for name in ("bare", "churn", "swapped"):
        image = small_image(folder / name, seed=name)
        destination.write(name, image, SilentProgress())
        destination.set_name(name, image, record(base_layers=1))
        made = evidence_of(image)
        if name == "swapped":
            made = replace(made, bills=((CYCLONEDX_TYPE, cyclonedx(contents_of(image, "sound"), "1.0")),))
        if name != "bare":
            attestation.attach(made, destination.beside(name), key)
    advisory = {
        "id": "GHSA-toy",
        "aliases": ["CVE-1"],
        "database_specific": {"severity": "HIGH"},
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "toy"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
            }
        ],
    }
    (folder / "advisories.json").write_text(json.dumps(advisory))
    return folder


def run(
    place: Path, *arguments: object, by: Callable[..., CompletedProcess[str]] = called
) -> CompletedProcess[str]:
    return by("dbimage", *arguments, "-t", f"oci:{place}/images")


def shown(place: Path, *arguments: object) -> dict[str, Any]:
    done = run(place, "inspect", "churn", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_document_is_printed_as_it_is(place: Path) -> None:
    assert shown(place, "--sbom")["bomFormat"] == "CycloneDX"
    assert shown(place, "--spdx")["spdxVersion"] == "SPDX-2.3"
    assert shown(place, "--provenance")["predicateType"] == "https://slsa.dev/provenance/v1"
    assert shown(place, "--report", "--key", place / "ecdsa.pub")["predicate"] == {"result": "PASSED"}


def test_a_statement_of_another_key_is_refused(place: Path, tmp_path: Path) -> None:
    _, other = key_pair(tmp_path)
    done = run(place, "inspect", "churn", "--report", "--key", other, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "no-evidence"


def test_an_image_without_evidence_says_so(place: Path) -> None:
    for arguments in (["inspect", "bare", "--sbom"], ["scan", "bare", "--advisories", place / "advisories.json"]):
        done = run(place, *arguments)
        assert done.returncode == 3
        assert "has no bill of materials" in done.stderr


def test_a_scan_lists_what_advisories_are_about(place: Path) -> None:
    done = run(place, "scan", "churn", "--advisories", place / "advisories.json", by=typed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 of 2 packages have known vulnerabilities"
    (row,) = [line for line in done.stdout.splitlines() if "GHSA-toy" in line]
    assert row.split() == ["high", "toy", "1.0", "GHSA-toy", "1.1"]


@pytest.mark.parametrize(("threshold", "code"), [("high", 6), ("medium", 6), ("critical", 0)])
def test_the_threshold_decides_the_exit_code(place: Path, threshold: str, code: int) -> None:
    done = run(place, "scan", "churn", "--advisories", place / "advisories.json", "--fail-on", threshold, "--json")
    assert done.returncode == code, done.stderr
    data = json.loads(done.stdout)
    assert [each["advisory"] for each in data["vulnerabilities"]] == ["GHSA-toy"]
    assert ("error" in data) is (code == 6)


def test_a_bill_that_somebody_has_swapped_is_not_believed(place: Path, tmp_path: Path) -> None:
    advisories, key = ("--advisories", place / "advisories.json"), ("--key", place / "ecdsa.pub")
    policy = tmp_path / "policy.toml"
    policy.write_text('vulnerabilities = "high"\n')
    for code, command in (
        (3, ("scan", "swapped", *advisories)),
        (6, ("trust", "swapped", "--policy", policy, *advisories)),
        (3, ("inspect", "swapped", "--sbom")),
    ):
        done = run(place, *command, *key)
        assert done.returncode == code
        assert "no bill of materials that a provenance names which the key has signed" in done.stderr
    assert run(place, "scan", "churn", *advisories, *key).returncode == 0


def test_what_is_not_deployed_or_no_advisory_is_an_error(place: Path) -> None:
    assert run(place, "scan", "nobody", "--advisories", place / "advisories.json").returncode == 3
    assert run(place, "scan", "churn", "--advisories", place / "missing").returncode == 3


def test_a_signed_image_is_trusted_by_its_key_alone(place: Path, tmp_path: Path) -> None:
    done = run(place, "trust", "churn", "--key", place / "ecdsa.pub", by=typed)
    assert done.returncode == 0, done.stderr
    (row,) = [line.split() for line in done.stdout.splitlines() if " signed " in line]
    assert row[:2] == ["yes", "signed"]
    _, other = key_pair(tmp_path)
    done = run(place, "trust", "churn", "--key", other, "--json")
    assert done.returncode == 6
    assert json.loads(done.stdout)["error"]["code"] == "not-trusted"


def test_a_policy_is_held_against_what_is_known(place: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('signed = true\nproven = true\nvulnerabilities = "high"\nbases = ["ba*"]\n')
    advisories = ("--advisories", place / "advisories.json")
    done = run(place, "trust", "churn", "--key", place / "ecdsa.pub", "--policy", policy, *advisories, "--json")
    assert done.returncode == 6
    met = {each["demand"]: each["met"] for each in json.loads(done.stdout)["demands"]}
    assert met == {"signed": True, "proven": False, "vulnerabilities": False, "bases": False}


def test_nothing_demanded_is_a_usage_error(place: Path) -> None:
    assert run(place, "trust", "churn").returncode == 2
