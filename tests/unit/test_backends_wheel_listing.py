"""Listings of wheels: read as they were written, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.backends.wheel_listing import ListedFile, ListedScript, WheelListing

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
SCHEMES = st.sampled_from(["purelib", "platlib", "scripts", "data", "headers"])
LISTINGS = st.builds(
    WheelListing,
    sha256=HASHES,
    distribution=st.text(),
    scripts=st.lists(st.builds(ListedScript, st.text(), st.text(), st.text(), st.text()), max_size=2).map(tuple),
    files=st.lists(
        st.builds(
            ListedFile, SCHEMES, st.text(), st.integers(0, 1 << 40), HASHES, st.booleans(), st.none() | HASHES
        ),
        max_size=3,
    ).map(tuple),
    record=st.tuples(SCHEMES, st.text()),
    requirements=st.lists(st.text(), max_size=2).map(tuple),
)


@given(LISTINGS)
def test_what_was_written_is_read(listing: WheelListing) -> None:
    assert WheelListing.from_bytes(listing.to_bytes(), listing.sha256) == listing


@given(LISTINGS, st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_what_was_changed_counts_as_none(listing: WheelListing, where: float, value: int) -> None:
    data = bytearray(listing.to_bytes())
    data[int(where * len(data))] ^= value
    with pytest.raises(ValueError, match="a listing that was changed"):
        WheelListing.from_bytes(bytes(data), listing.sha256)


@given(LISTINGS, HASHES)
def test_a_listing_is_of_one_wheel(listing: WheelListing, other: str) -> None:
    if other != listing.sha256:
        with pytest.raises(ValueError, match="another wheel"):
            WheelListing.from_bytes(listing.to_bytes(), other)
