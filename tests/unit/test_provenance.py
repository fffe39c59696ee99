"""Provenance says what the record says, and nothing of when or where."""

from __future__ import annotations

import json

import pytest

from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.provenance import bills_of, provenance
from score_images import record

IMAGE = Digest.of(b"image")
ORIGIN = ModelOrigin(run_id="9f", commit="a" * 40, repository="https://git.example/churn.git")


def stated(origin: ModelOrigin = ORIGIN) -> dict:
    made = provenance(record(base_layers=1), IMAGE, "registry.example/churn", origin, "1.0")
    assert made.subject == IMAGE
    return json.loads(made.to_bytes())["predicate"]


def test_every_input_is_a_dependency_with_its_digest() -> None:
    dependencies = stated()["buildDefinition"]["resolvedDependencies"]
    assert dependencies == [
        {"name": "model", "uri": "models:/m/1", "digest": {"sha256": "0" * 64}},
        {"name": "base image", "uri": "base", "digest": {"sha256": "1" * 64}},
        {"name": "environment lock", "digest": {"sha256": "2" * 64}},
        {"name": "run", "uri": "runs:/9f"},
        {"name": "source", "uri": "git+https://git.example/churn.git", "digest": {"gitCommit": "a" * 40}},
    ]


def test_what_is_not_known_is_left_out() -> None:
    names = [each["name"] for each in stated(ModelOrigin())["buildDefinition"]["resolvedDependencies"]]
    assert names == ["model", "base image", "environment lock"]
    assert "runtime" not in stated()["buildDefinition"]["externalParameters"]


def test_bills_are_byproducts_by_their_digests() -> None:
    bills = (("application/a", Digest.of(b"1")), ("application/b", Digest.of(b"2")))
    made = provenance(record(base_layers=1), IMAGE, "c", ModelOrigin(), "1.0", bills=bills)
    named = made.predicate["runDetails"]["byproducts"]
    assert named[0] == {
        "name": "bill of materials",
        "mediaType": "application/a",
        "digest": {"sha256": Digest.of(b"1").hex},
    }
    assert bills_of(Statement.from_bytes(made.to_bytes())) == bills


@pytest.mark.parametrize(
    "details",
    [
        None,
        {},
        {"byproducts": 7},
        {"byproducts": [{}]},
        {"byproducts": [{"name": "bill of materials", "mediaType": "a", "digest": {"sha256": "x"}}]},
        {"byproducts": [{"name": "a log", "uri": "https://log.example"}]},
    ],
)
def test_what_names_no_bills_has_none(details: object) -> None:
    made = Statement(subject_name="c", subject=IMAGE, predicate_type="t", predicate={"runDetails": details})
    assert bills_of(made) == ()


def test_it_is_slsas_form_without_times() -> None:
    predicate = stated()
    assert predicate.keys() == {"buildDefinition", "runDetails"}
    assert predicate["runDetails"] == {
        "builder": {"id": "https://dbimage.dev/builder/v1", "version": {"mlflow-dbimage": "1.0"}}
    }
    assert predicate["buildDefinition"]["externalParameters"]["model"] == "models:/m/1"
    assert stated() == predicate
