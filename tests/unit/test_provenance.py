"""Provenance says what the record says, and nothing of when or where."""

from __future__ import annotations

import json

from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.provenance import provenance
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


def test_it_is_slsas_form_without_times() -> None:
    predicate = stated()
    assert predicate.keys() == {"buildDefinition", "runDetails"}
    assert predicate["runDetails"] == {
        "builder": {"id": "https://dbimage.dev/builder/v1", "version": {"mlflow-dbimage": "1.0"}}
    }
    assert predicate["buildDefinition"]["externalParameters"]["model"] == "models:/m/1"
    assert stated() == predicate
