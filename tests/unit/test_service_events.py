"""Events: what a registry sends is read as it really sends it, and nothing but names of it is used."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.service.events import Event, Ignored, from_databricks, from_mlflow


def delivery(entity: str, action: str, **data: object) -> bytes:
    """Return a body as MLflow 3.17 sends it."""
    timestamp = "2026-11-24T08:29:46.751012+00:00"
    return json.dumps({"entity": entity, "action": action, "timestamp": timestamp, "data": data}).encode()


def mlflow_event(entity: str, action: str, **data: object) -> Event | Ignored:
    return from_mlflow(delivery(entity, action, **data), delivery="d-1", received=5.0)


def test_a_version_that_was_created():
    source = "http://169.254.169.254/latest"
    others = {"source": source, "run_id": None, "tags": {}, "description": None}
    read = mlflow_event("model_version", "created", name="churn", version="3", **others)
    assert read == Event(kind="version-created", model="churn", version="3", delivery="d-1", received=5.0)
    assert source not in json.dumps(read.to_dict())


def test_an_alias_that_was_set():
    read = mlflow_event("model_version_alias", "created", name="m 1", alias="champion", version="10")
    assert isinstance(read, Event)
    assert (read.kind, read.model, read.version, read.alias) == ("alias-set", "m 1", "10", "champion")
    assert str(read) == "alias champion set on m 1 version 10"


@pytest.mark.parametrize("value", ["yes", "", "with\nlines"])
def test_a_tag_that_was_set(value):
    read = mlflow_event("model_version_tag", "set", name="m", version="1", key="deploy", value=value)
    assert isinstance(read, Event)
    assert (read.kind, read.key, read.value) == ("tag-set", "deploy", value)


@pytest.mark.parametrize(
    ("entity", "action"),
    [
        ("registered_model", "created"),
        ("model_version_alias", "deleted"),
        ("model_version_tag", "deleted"),
        ("prompt_version", "created"),
        ("budget_policy", "exceeded"),
        ("something_new", "done"),
    ],
)
def test_other_events_are_ignored_whatever_they_hold(entity, action):
    assert mlflow_event(entity, action, name=5) == Ignored(reason=f"`{entity}.{action}` asks for no build")


def test_the_example_of_mlflows_test_button_is_ignored():
    read = mlflow_event("model_version", "created", name="example_model", version="1", source="models:/123")
    assert isinstance(read, Ignored)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b"{}", "`entity` is missing, or not a text"),
        (b'{"entity": "model_version", "action": "created"}', "`data` is not an object"),
        (delivery("model_version", "created", name="m"), "`version` is not a number"),
        (delivery("model_version", "created", name="m", version="latest"), "`version` is not a number"),
        (delivery("model_version", "created", name="m", version=True), "`version` is not a number"),
        (delivery("model_version", "created", name="m", version="\u0663"), "`version` is not a number"),
        (delivery("model_version", "created", name="m", version="-1"), "`version` is not a number"),
        (delivery("model_version", "created", name=["m"], version="1"), "`name` is missing, or not a text"),
        (delivery("model_version", "created", name=" ", version="1"), "`name` is empty"),
        (delivery("model_version", "created", name="m" * 257, version="1"), "more than 256 characters"),
        (
            delivery("model_version", "created", name="//x@databricks/m", version="1"),
            "characters that no",
        ),
        (delivery("model_version", "created", name="a:b", version="1"), "characters that no"),
        (delivery("model_version", "created", name="a\u202eb", version="1"), "characters that no"),
        (delivery("model_version", "created", name="a\nb", version="1"), "characters that no"),
        (delivery("model_version_alias", "created", name="m", version="1"), "`alias` is missing"),
        (delivery("model_version_tag", "set", name="m", version="1", key="k"), "`value` is not a text"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_with_a_reason(body, why):
    with pytest.raises(InputError, match=why) as caught:
        from_mlflow(body, delivery=None, received=0.0)
    assert caught.value.code == "event-invalid"


def hook(event: str, **data: object) -> bytes:
    """Return a body as a Databricks workspace registry sends it."""
    fixed = {"webhook_id": "w", "event_timestamp": 1_700_000_000_000, "text": "someone did it"}
    return json.dumps({"event": event, **fixed, **data}).encode()


def test_a_legacy_hook_of_databricks():
    body = hook("MODEL_VERSION_CREATED", model_name="churn", version="2")
    read = from_databricks(body, received=1.0)
    assert isinstance(read, Event)
    assert (read.kind, read.model, read.version) == ("version-created", "churn", "2")
    assert read.delivery == from_databricks(body, received=9.0).delivery
    assert read.delivery != from_databricks(body + b" ", received=1.0).delivery


def test_a_tag_of_a_legacy_hook():
    tags = [{"key": "dbimage_status", "value": "built"}, {"key": "deploy", "value": "yes"}]
    read = from_databricks(hook("MODEL_VERSION_TAG_SET", model_name="m", version=1, tags=tags), received=1.0)
    assert isinstance(read, Event)
    assert (read.kind, read.version, read.key, read.value) == ("tag-set", "1", "deploy", "yes")
    only_ours = hook("MODEL_VERSION_TAG_SET", model_name="m", version=1, tags=tags[:1])
    assert isinstance(from_databricks(only_ours, received=1.0), Ignored)


@pytest.mark.parametrize("tags", [None, "x", ["x"]])
def test_tags_of_a_legacy_hook_that_are_none(tags):
    with pytest.raises(InputError, match="`tags`"):
        from_databricks(hook("MODEL_VERSION_TAG_SET", model_name="m", version="1", tags=tags), received=1.0)


@pytest.mark.parametrize("event", ["COMMENT_CREATED", "MODEL_VERSION_TRANSITIONED_STAGE"])
def test_other_legacy_hooks_are_ignored(event):
    read = from_databricks(hook(event, model_name="m", version="1", to_stage="Production"), received=1.0)
    assert read == Ignored(reason=f"`{event}` asks for no build")


TEXTS = st.text("a1/: \n\u202e", max_size=5)
PLAIN = st.none() | st.booleans() | st.integers() | TEXTS
JSON = PLAIN | st.lists(PLAIN, max_size=3) | st.lists(st.dictionaries(TEXTS, PLAIN, max_size=2), max_size=2)
WORDS = st.sampled_from(
    ["model_version", "model_version_alias", "model_version_tag", "created", "set", "MODEL_VERSION_TAG_SET"]
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "entity": WORDS | JSON,
        "action": WORDS | JSON,
        "event": WORDS | JSON,
        "tags": JSON,
        "data": st.dictionaries(st.sampled_from(["name", "version", "alias", "key", "value"]), JSON) | JSON,
    },
)


@given(BODIES)
def test_any_body_is_read_ignored_or_refused(body):
    for read in (
        lambda raw: from_mlflow(raw, delivery=None, received=0.0),
        lambda raw: from_databricks(raw, received=0.0),
    ):
        try:
            event = read(json.dumps(body).encode())
        except InputError:
            continue
        if isinstance(event, Event):
            assert event.version.isdecimal() and not set("/:\n") & set(event.model)
