"""Descriptors and platforms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.oci.descriptor import OCI_MANIFEST, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest

DIGEST = "sha256:" + "0" * 64

platforms = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm64"]),
    st.sampled_from([None, "v8"]),
)
descriptors = st.builds(
    Descriptor,
    media_type=st.sampled_from([OCI_MANIFEST, "application/x"]),
    digest=st.builds(Digest.of, st.binary(max_size=4)),
    size=st.integers(0, 1 << 40),
    annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    platform=st.none() | platforms,
)


@given(descriptors)
def test_the_json_form_is_read_back(descriptor: Descriptor) -> None:
    assert Descriptor.from_dict(descriptor.to_dict()) == descriptor


def test_the_json_form_has_nothing_that_is_empty() -> None:
    descriptor = Descriptor(media_type="a/b", digest=Digest.parse(DIGEST), size=1)
    assert descriptor.to_dict() == {"mediaType": "a/b", "digest": DIGEST, "size": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"digest": None}, "malformed"),
        ({"digest": "md5:0"}, "not a sha256 digest"),
        ({"size": -1}, "malformed"),
        ({"size": "1"}, "malformed"),
        ({"size": True}, "malformed"),
        ({"mediaType": 3}, "malformed"),
        ({"platform": {"os": "linux"}}, "lacks 'architecture'"),
        ({"platform": "linux"}, "malformed"),
        ({"annotations": ["a"]}, "malformed"),
    ],
)
def test_a_malformed_descriptor_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Descriptor.from_dict({"mediaType": "a/b", "digest": DIGEST, "size": 1, **change})


@pytest.mark.parametrize("key", ["mediaType", "digest", "size"])
def test_a_missing_property_is_named(key: str) -> None:
    data = {"mediaType": "a/b", "digest": DIGEST, "size": 1}
    del data[key]
    with pytest.raises(ValueError, match=f"lacks '{key}'"):
        Descriptor.from_dict(data)


@given(platforms)
def test_a_platform_is_read_back_and_accepts_itself(platform: Platform) -> None:
    assert Platform.parse(str(platform)) == platform
    assert platform.accepts(platform)


@pytest.mark.parametrize(
    ("wanted", "offered", "runs"),
    [
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v6", "linux/arm/v7", False),
    ],
)
def test_what_runs_where(wanted: str, offered: str, runs: bool) -> None:
    assert Platform.parse(wanted).accepts(Platform.parse(offered)) is runs


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a platform"):
        Platform.parse(text)
