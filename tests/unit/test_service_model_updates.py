"""What Databricks gives a run: read as model versions, or refused with what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage import model_reference
from mlflow_dbimage.build_request import check_name
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.image_location import parse_target
from mlflow_dbimage.service.model_updates import ModelUpdate, read
from mlflow_dbimage.settings import Settings


def update(name="prod.sales.churn", version="3", alias="champion") -> dict[str, str]:
    return {"full_name": name, "version": version, "alias_name": alias}


def test_a_trigger_names_versions_each_once():
    text = json.dumps([update(), update(alias="challenger"), update(version=4), update("prod.sales.forecast")])
    assert [(each.name, each.version) for each in read(text, None, None)] == [
        ("prod.sales.churn", "3"),
        ("prod.sales.churn", "4"),
        ("prod.sales.forecast", "3"),
    ]


def test_a_deployment_job_names_one():
    unfilled = "{{job.trigger.model.updates}}"
    assert read(unfilled, "prod.sales.churn", "3") == (ModelUpdate(name="prod.sales.churn", version="3"),)
    assert read(None, "churn", "003") == (ModelUpdate(name="churn", version="3"),)


@pytest.mark.parametrize(
    ("updates", "name", "version"),
    [
        (None, None, None),
        ("", "", ""),
        ("{{job.trigger.model.updates}}", "{{job.parameters.model_name}}", "{{job.parameters.model_version}}"),
        (None, "churn", None),
        (None, "churn", "latest"),
        (None, "../x", "1"),
        ("[]", None, None),
        ("{}", None, None),
        ("[1]", None, None),
        ("[", None, None),
        ("[" * 100_000, None, None),
        ('[{"full_name": "a.b.c"}]', None, None),
        ('[{"full_name": "a@b", "version": 1}]', None, None),
    ],
)
def test_what_names_no_version_is_refused(updates, name, version):
    with pytest.raises(InputError) as refused:
        read(updates, name, version)
    assert refused.value.code == "event-invalid"


def test_uris_of_registries():
    one = ModelUpdate(name="a.b.c", version="3")
    assert model_reference.parse(one.uri("databricks-uc")).registry == "databricks-uc"
    assert one.uri(None) == "models:/a.b.c/3"


@given(st.from_regex(r"[A-Za-z0-9 _.é-]{0,30}[A-Za-z0-9][A-Za-z0-9 _.é-]{0,30}", fullmatch=True))
def test_every_name_of_a_model_gives_a_name_of_a_deployment(name):
    anywhere = Settings(target=parse_target("//registry.example/models"))
    check_name(ModelUpdate(name=name, version="1").deployment, anywhere)
