"""Tags of deployments: made from names and versions, and read back to the same."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.destinations.deployment import TagScheme, version_tag
from mlflow_dbimage.oci.digest import Digest
from unit.test_build_receipt import RECORD

DIGEST = Digest.of(b"image")
NAMES = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+){0,3}", fullmatch=True)
VERSIONS = st.one_of(st.none(), st.integers(1, 10**6).map(str))


def test_where_names_share_a_place_tags_begin_with_them_and_the_names_own_is_last() -> None:
    tags = TagScheme(named=True).tags("churn", RECORD, DIGEST)
    assert tags == (f"churn-v3-{DIGEST.short}", "churn-v3", "churn")


def test_where_each_name_has_a_repository_the_last_tag_is_deployed() -> None:
    tags = TagScheme(named=False, extra="blue").tags("churn", RECORD, DIGEST)
    assert tags == (f"v3-{DIGEST.short}", "v3", "blue", "deployed")


def test_immutable_tags_never_move() -> None:
    assert TagScheme(named=True, immutable=True).tags("churn", RECORD, DIGEST) == (f"churn-v3-{DIGEST.short}",)


def test_a_model_without_a_version_is_local() -> None:
    record = dataclasses.replace(RECORD, model_version=None)
    assert TagScheme(named=False).tags("churn", record, DIGEST)[1] == "local"
    assert version_tag("12") == "v12"


@given(name=NAMES, version=VERSIONS, others=st.lists(st.tuples(NAMES, VERSIONS), max_size=4))
def test_names_and_tags_are_read_back(
    name: str, version: str | None, others: list[tuple[str, str | None]]
) -> None:
    scheme = TagScheme(named=True)
    tags: set[str] = set()
    for each, number in [(name, version), *others]:
        tags.update(scheme.tags(each, dataclasses.replace(RECORD, model_version=number), DIGEST))
    names = {name, *(each for each, _ in others)}
    assert names <= set(scheme.names(tags))
    assert name in scheme.of_name(name, tags)
    assert scheme.deployed_tag(name, tags) == name


def test_a_name_that_begins_like_another_keeps_its_tags_apart() -> None:
    scheme = TagScheme(named=True)
    tags = {*scheme.tags("churn", RECORD, DIGEST), *scheme.tags("churn-eu", RECORD, DIGEST)}
    assert scheme.of_name("churn", tags) == ("churn", "churn-v3", f"churn-v3-{DIGEST.short}")
    assert scheme.names(tags) == ("churn", "churn-eu")


def test_without_a_moving_tag_the_highest_version_is_deployed() -> None:
    scheme = TagScheme(named=False, immutable=True)
    tags = [
        scheme.tags("churn", dataclasses.replace(RECORD, model_version=number), DIGEST)[0]
        for number in ("9", "10", "2")
    ]
    assert scheme.deployed_tag("churn", tags) == f"v10-{DIGEST.short}"
    assert scheme.deployed_tag("churn", []) is None
    assert TagScheme(named=False).deployed_tag("churn", tags) is None
