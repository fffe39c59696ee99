"""The first difference of two images: which layer, which path, what of it."""

from __future__ import annotations

import gzip
import io
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.build_receipt import LayerRecord
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.image_comparison import (
    Member,
    Side,
    compare,
    compare_documents,
    compare_members,
    read_members,
)
from mlflow_dbimage.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image, Layer, RunConfig, append
from oci_samples import foreign_tar, image_of, plain_layer, small_image

BASE = plain_layer(foreign_tar([("etc", None)]))
MODEL = [("opt", None), ("opt/a", b"one"), ("opt/b", "a"), ("opt/c", b"three")]

members = st.builds(
    Member,
    kind=st.sampled_from(["file", "link", "directory"]),
    mode=st.sampled_from(["0644", "0755"]),
    owner=st.just("0:0"),
    time=st.just("315532801"),
    link=st.sampled_from(["", "a"]),
    size=st.integers(0, 2),
    content=st.sampled_from(["", "x", "y"]),
)
layers = st.dictionaries(st.text("abc/", min_size=1, max_size=4), members, max_size=5)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "(none)"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def _read(field: str, told: str) -> object:
    return int(told) if field == "size" else told


def side(image: Image, *kinds: str) -> Side:
    records = [LayerRecord(kind=kind, digest="", diff_id="", size=0, contents=(f"a {kind}",)) for kind in kinds]
    return Side(image=image, base_layers=1, layers=records)


def of_model(*tar: tuple[str, str | bytes | None], **changes: object) -> Side:
    return side(image_of(BASE, plain_layer(foreign_tar(tar, **changes))), "model")


def gzipped(data: bytes, level: int) -> Layer:
    packed = gzip.compress(data, compresslevel=level, mtime=0)
    descriptor = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(packed), size=len(packed))
    return Layer(descriptor=descriptor, diff_id=Digest.of(data), open=lambda: io.BytesIO(packed))


@given(layers, layers)
def test_layers_differ_where_the_first_path_does(theirs: dict[str, Member], ours: dict[str, Member]) -> None:
    found = compare_members(theirs, ours)
    if found is None:
        assert theirs == ours
        return
    path, field, one, other = found
    assert one != other
    before = [each for each in theirs.keys() | ours.keys() if each < path]
    assert [theirs.get(each) for each in before] == [ours.get(each) for each in before]
    if field == "file":
        assert (path in theirs) != (path in ours)
    else:
        assert (getattr(theirs[path], field), getattr(ours[path], field)) == (
            _read(field, one),
            _read(field, other),
        )
    assert compare_members(ours, theirs) == (path, field, other, one)


@given(members, st.sampled_from([field.name for field in fields(Member)]))
def test_no_field_is_forgotten(member: Member, field: str) -> None:
    other = replace(member, **{field: 77 if field == "size" else "another"})
    found = compare_members({"a": member}, {"a": other})
    assert found is not None
    assert found[:2] == ("a", field)


@given(documents, documents)
def test_documents_differ_or_are_the_same(theirs: object, ours: object) -> None:
    same = repr(_sorted(theirs)) == repr(_sorted(ours))
    assert (compare_documents(theirs, ours) is None) == same


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def test_a_property_is_named_by_its_path() -> None:
    theirs = {"config": {"Env": ["A=1", "B=2"], "User": "root"}}
    assert compare_documents(theirs, {"config": {"Env": ["A=1", "B=3"], "User": "root"}}) == (
        "config.Env[1]",
        "B=2",
        "B=3",
    )
    assert compare_documents(theirs, {"config": {"Env": ["A=1"]}}) == ("config.Env[1]", "B=2", "missing")


@pytest.mark.parametrize(
    ("theirs", "path", "field", "says"),
    [
        ([*MODEL[:1], ("opt/a", b"two"), *MODEL[2:]], "opt/a", "content", ""),
        ([*MODEL[:1], ("opt/a", b"longer"), *MODEL[2:]], "opt/a", "size", "the size is 6, and 3 when built again"),
        ([*MODEL[:2], ("opt/b", "c"), *MODEL[3:]], "opt/b", "link", "the link is c, and a when built again"),
        (
            [*MODEL[:2], ("opt/b", b"a"), *MODEL[3:]],
            "opt/b",
            "kind",
            "the kind is file, and link when",
        ),
        (MODEL[:3], "opt/c", "file", "the file is missing, and a file when built again"),
        ([*MODEL, ("opt/evil", b"")], "opt/evil", "file", "the file is a file, and missing when built again"),
        ([*MODEL[:1], MODEL[2], MODEL[1], MODEL[3]], None, "archive", "the archive is sha256:"),
    ],
)
def test_a_layer_is_named_with_path_and_field(
    theirs: list[tuple[str, str | bytes | None]], path: str | None, field: str, says: str
) -> None:
    found = compare(of_model(*theirs), of_model(*MODEL), compressed=True)
    assert found is not None
    assert (found.part, found.path, found.field) == ("layer 1 (model: a model)", path, field)
    assert says in str(found)


def test_modes_owners_and_times_count() -> None:
    for change, field, value in (({"mode": 0o600}, "mode", "0600"), ({"uid": 7}, "owner", "7:0")):
        found = compare(of_model(*MODEL, **change), of_model(*MODEL), compressed=True)
        assert found is not None
        assert (found.path, found.field, found.theirs) == ("opt", field, value)
    found = compare(of_model(*MODEL, mtime=5), of_model(*MODEL), compressed=True)
    assert found is not None
    assert (found.field, found.theirs) == ("time", "5")


def test_equal_images_differ_in_nothing_and_no_layer_is_read(tmp_path: Path) -> None:
    one, other = small_image(tmp_path / "a"), small_image(tmp_path / "b")
    for layer in (tmp_path / "a").iterdir():
        layer.unlink()
    assert compare(side(one, "model"), side(other, "model"), compressed=True) is None


def test_layers_too_many_and_of_other_kinds_are_told() -> None:
    layer = plain_layer(foreign_tar(MODEL))
    more, usual = side(image_of(BASE, layer, layer), "model"), side(image_of(BASE, layer), "model")
    found = compare(more, usual, compressed=True)
    assert found is not None
    assert (found.part, found.field, found.ours) == ("layer 2", "layer", "missing")
    found = compare(side(usual.image, "launcher"), usual, compressed=True)
    assert found is None, "the images are the same, byte for byte"
    found = compare(side(more.image, "launcher", "model"), usual, compressed=True)
    assert found is not None
    assert (found.part, found.field, found.theirs) == ("record", "kinds", "launcher, model")


def test_configs_and_manifests_come_after_layers() -> None:
    image = image_of(BASE)
    found = compare(side(append(image, [], RunConfig(user="root"))), side(image), compressed=True)
    assert found is not None
    assert (found.part, found.path, found.theirs) == ("config", "config.User", "root")
    annotated = append(image, [], RunConfig(), annotations={"a": "b"})
    found = compare(side(annotated), side(append(image, [], RunConfig())), compressed=True)
    assert found is not None
    assert (found.part, found.path) == ("manifest", "annotations")
    spaced = replace(image, manifest=image.manifest.replace(b",", b", "))
    found = compare(side(spaced), side(image), compressed=True)
    assert found is not None
    assert (found.part, found.path, found.field) == ("manifest", None, "digest")


def test_another_compressor_is_no_difference_of_contents() -> None:
    data = foreign_tar(MODEL)
    one, other = (side(image_of(BASE, gzipped(data, level)), "model") for level in (0, 9))
    assert compare(one, other, compressed=False) is None
    found = compare(one, other, compressed=True)
    assert found is not None
    assert (found.part, found.field) == ("layer 1 (model: a model)", "digest")


def test_a_diff_id_that_lies_is_no_comparison() -> None:
    layer = replace(plain_layer(foreign_tar(MODEL)), diff_id=Digest.of(b"other"))
    with pytest.raises(VerificationError) as caught:
        read_members(layer)
    assert caught.value.code == "digest-mismatch"
