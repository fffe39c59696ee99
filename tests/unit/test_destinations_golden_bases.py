"""How golden bases are called, and that no deployment is taken for one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_base_record import RECORD

from mlflow_dbimage.build_request import check_name
from mlflow_dbimage.destinations.deployment import TagScheme
from mlflow_dbimage.destinations.golden_bases import BaseTags, base_of, record_of_base
from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.settings import Settings
from oci_samples import foreign_tar, image_of, plain_layer

DIGEST = Digest.of(b"base")
SHORT = DIGEST.short
LAYOUT = Settings(target=ImageLocation(transport="oci"))
NAMES = st.from_regex(r"[a-z0-9]{1,8}(?:[.-][a-z0-9]{1,8}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        (BaseTags(named=True), (f"base-x-{SHORT}", "base-x")),
        (BaseTags(named=False), (f"base-{SHORT}", "base")),
        (BaseTags(named=True, immutable=True), (f"base-x-{SHORT}",)),
        (BaseTags(named=True, extra="may"), (f"base-x-{SHORT}", "base-x-may", "base-x")),
        (BaseTags(named=False, extra="may"), (f"base-{SHORT}", "may", "base")),
    ],
)
def test_the_tag_that_moves_is_last(scheme: BaseTags, tags: tuple[str, ...]) -> None:
    assert scheme.tags("x", DIGEST) == tags


@given(name=NAMES, other=NAMES)
def test_names_are_read_back_from_tags(name: str, other: str) -> None:
    try:
        for each in (name, other):
            check_name(each, LAYOUT, "golden base")
    except UsageError:
        return
    scheme = BaseTags(named=True)
    there = {*scheme.tags(name, DIGEST), *scheme.tags(other, Digest.of(b"other"))}
    assert set(scheme.names(there)) == {name, other}
    assert scheme.listed(name, there) == (f"base-{name}",)
    assert TagScheme(named=True).names(there) == ()


def test_without_a_tag_that_moves_all_are_listed() -> None:
    scheme = BaseTags(named=True, immutable=True)
    there = {*scheme.tags("x", DIGEST), *scheme.tags("x", Digest.of(b"second")), *scheme.tags("x-y", DIGEST)}
    assert len(scheme.listed("x", there)) == 2


def test_a_deployment_cannot_be_named_as_bases_are_where_tags_are_shared() -> None:
    with pytest.raises(UsageError) as caught:
        check_name("base-churn", LAYOUT)
    assert "golden bases" in caught.value.message
    assert "`churn` would do" in (caught.value.hint or "")
    registry = Settings(target=ImageLocation(transport="docker", host="r.example"))
    check_name("base-churn", registry)


def test_a_base_is_told_from_an_image_on_top_of_it() -> None:
    labels = RECORD.to_labels()
    assert record_of_base(labels) == RECORD
    assert record_of_base({**labels, "dev.dbimage.record": "{}"}) is None
    assert record_of_base({}) is None
    assert base_of("x", "oci:x", image_of(plain_layer(foreign_tar([]))), ()) is None


def test_what_is_listed_is_flat() -> None:
    from mlflow_dbimage.destinations.golden_bases import GoldenBase

    base = GoldenBase(name="x", reference="oci:x", digest=str(DIGEST), tags=("base",), record=RECORD, size=5)
    found = base.to_dict()
    assert found["drift"] == 1
    assert found["record"]["drift"] == RECORD.drift
    assert {"name", "reference", "digest", "runtime", "python", "packages", "size", "tags"} <= found.keys()
    assert dataclasses.asdict(RECORD) == found["record"]
