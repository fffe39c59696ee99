"""References: every form of a model URI is read, what is no URI is refused with what was perhaps meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.model_reference import FoundModel, ModelReference, near, parse, pin


@dataclass
class StoreOfOneAnswer:
    """A store that finds the same, whatever it is asked for, and remembers what it was asked for."""

    answer: FoundModel
    asked: list[ModelReference] = field(default_factory=list)

    def find(self, reference: ModelReference) -> FoundModel:
        self.asked.append(reference)
        return self.answer

    def download(self, reference: ModelReference, directory: Path) -> None:
        raise NotImplementedError

    def note_image(self, reference: ModelReference, image: str, digest: str, *, proven: bool) -> bool:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/churn/3", {"kind": "registered", "name": "churn", "version": "3"}),
        ("models:/churn/03", {"kind": "registered", "name": "churn", "version": "3"}),
        ("models:/churn@champion", {"kind": "registered", "name": "churn", "alias": "champion"}),
        ("models:/a@b@champion", {"kind": "registered", "name": "a@b", "alias": "champion"}),
        ("models:/churn/latest", {"kind": "registered", "name": "churn", "stage": "latest"}),
        ("models:/churn/LATEST", {"kind": "registered", "name": "churn", "stage": "latest"}),
        ("models:/churn/Staging", {"kind": "registered", "name": "churn", "stage": "Staging"}),
        ("models:/cat.sch.churn/3", {"kind": "registered", "name": "cat.sch.churn", "version": "3"}),
        ("models:/my model/3", {"kind": "registered", "name": "my model", "version": "3"}),
        ("models:/m-0123", {"kind": "logged", "model_id": "m-0123"}),
        ("MODELS:/churn/3", {"kind": "registered", "name": "churn", "version": "3"}),
        (
            "models://work@databricks/churn/3",
            {"kind": "registered", "name": "churn", "version": "3", "registry": "databricks://work"},
        ),
        (
            "models://databricks-uc/a.b.c@x",
            {"kind": "registered", "name": "a.b.c", "alias": "x", "registry": "databricks-uc"},
        ),
        ("runs:/0a1b/model", {"kind": "run", "run_id": "0a1b", "path": "model"}),
        ("runs:/0a1b/deep/model/", {"kind": "run", "run_id": "0a1b", "path": "deep/model"}),
        ("models/churn", {"kind": "path", "path": "models/churn"}),
        ("/srv/models/churn", {"kind": "path", "path": "/srv/models/churn"}),
        ("file:///srv/my%20models/churn", {"kind": "path", "path": "/srv/my models/churn"}),
        ("file:/srv/churn", {"kind": "path", "path": "/srv/churn"}),
        ("s3://bucket/churn", {"kind": "path"}),
        ("mlflow-artifacts:/1/churn", {"kind": "path"}),
    ],
)
def test_every_form_is_read(uri: str, expected: dict[str, str]) -> None:
    reference = parse(f" {uri} ")
    found = {
        name: getattr(reference, name)
        for name in ("kind", "name", "version", "alias", "stage", "model_id", "run_id", "path", "registry")
    }
    assert {name: value for name, value in found.items() if value is not None} == expected
    assert reference.uri == uri


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("", "it is empty"),
        ("models:/", "a part of it is empty"),
        ("models:/churn/", "a part of it is empty"),
        ("models:/churn/3/data", "inside a model"),
        ("models:churn/3", "`models:/churn/3` was perhaps meant"),
        ("models://churn/3", "`models:/churn/3` was perhaps meant"),
        ("models:/churn@", "`models:/NAME@ALIAS`"),
        ("models:/@champion", "`models:/NAME@ALIAS`"),
        ("models://ann:pw@example.com/churn/3", "only `PROFILE@databricks`"),
        ("model:/churn/3", "`models:/churn/3` was perhaps meant"),
        ("run:/0a1b/model", "`runs:/0a1b/model` was perhaps meant"),
        ("runs:/0a1b", "`runs:/RUN_ID/PATH`"),
        ("runs:/../model", "`runs:/RUN_ID/PATH`"),
        ("runs:/0a1b/../model", "its path must be plain"),
        ("file://host/srv/churn", "no host"),
        ("file:", "names no path"),
        ("models:/churn/3\n", None),
        ("models:/chu\nrn/3", "control characters"),
    ],
)
def test_what_is_no_model_uri_is_refused(uri: str, why: str | None) -> None:
    if why is None:
        assert parse(uri).version == "3"  # space around it is nobody's fault
        return
    with pytest.raises(UsageError) as caught:
        parse(uri)
    assert caught.value.code == "bad-model-uri"
    assert why in caught.value.message
    assert "`models:/NAME/VERSION`" in str(caught.value.hint)


def test_a_password_is_not_told() -> None:
    with pytest.raises(UsageError) as caught:
        parse("models://ann:hunter2@example.com/churn/3")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("models:/churn/latest", "models:/churn/latest"),
        ("models://work@databricks/churn/3", "models://work@databricks/churn/3"),
        ("runs:/0a1b/model/", "runs:/0a1b/model"),
        ("/home/ann/models/churn", "churn"),
        ("file:///home/ann/models/churn", "churn"),
        ("sftp://ann:hunter2@host/models/churn", "sftp://host/models/churn"),
        ("wasbs://c@account.blob/churn?sig=hunter2", "wasbs://account.blob/churn"),
    ],
)
def test_what_goes_into_records_has_no_credentials_and_no_directory(uri: str, public: str) -> None:
    assert parse(uri).pinned_uri == public


@pytest.mark.parametrize(
    ("uri", "pinned"),
    [
        ("models:/churn@champion", "models:/churn/7"),
        ("models:/churn/latest", "models:/churn/7"),
        ("models://work@databricks/churn/Production", "models://work@databricks/churn/7"),
        ("models://databricks-uc/a.b.c@x", "models://databricks-uc/a.b.c/7"),
    ],
)
def test_pinning_asks_once_and_names_one_version(uri: str, pinned: str) -> None:
    store = StoreOfOneAnswer(FoundModel(version="7", run_id="0a1b", model_id="m-1"))
    reference = pin(parse(uri), store)
    assert reference.pinned_uri == pinned
    assert (reference.version, reference.run_id, reference.model_id) == ("7", "0a1b", "m-1")
    assert reference.uri == uri
    assert store.asked == [parse(uri)]
    # What was pinned can be read again, and means that version.
    assert parse(reference.pinned_uri).version == "7"


def test_other_kinds_are_pinned_as_they_are() -> None:
    store = StoreOfOneAnswer(FoundModel(name="tree", run_id="0a1b"))
    logged = pin(parse("models:/m-1"), store)
    assert (logged.name, logged.version, logged.pinned_uri) == ("tree", None, "models:/m-1")
    assert pin(parse("models/churn"), StoreOfOneAnswer(FoundModel())) == parse("models/churn")


def test_near_names_ignore_case() -> None:
    assert near("CHURM", ("churn", "price", "Churn_2")) == ("churn", "Churn_2")
    assert near("zzz", ("churn", "price")) == ()


names = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/:@\x7f"), min_size=1, max_size=20
)


@given(names, st.integers(0, 10**9))
def test_every_pinned_version_is_read_back(name: str, version: int) -> None:
    reference = parse(f"models:/{name}/{version}")
    assert (reference.name, reference.version) == (name, str(version))
    assert parse(reference.pinned_uri) == reference


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except UsageError:
        return
    assert reference.uri == text.strip()
