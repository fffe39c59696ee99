"""What the parts of layers make is what the layers make, as far as the parts go."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.layer_members import visit
from mlflow_dbimage.oci.layer_part import LayerPart, PartRecorder
from mlflow_dbimage.oci.root_listing import NodeKind, RootListing, read_listing, stacked
from oci_samples import image_of, plain_layer

NAMES = ("a", "b", "c", "skipped")
FOLDERS = st.lists(st.sampled_from(NAMES), max_size=3).map("/".join)
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
MEMBERS = st.one_of(
    st.tuples(PATHS, st.sampled_from((tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)), st.just("")),
    st.tuples(PATHS, st.sampled_from((tarfile.SYMTYPE, tarfile.LNKTYPE)), PATHS),
    st.tuples(PATHS.map(lambda path: "/".join([*path.split("/")[:-1], f".wh.{path.split('/')[-1]}"])))
    .map(lambda each: (*each, tarfile.REGTYPE, "")),
    st.tuples(FOLDERS.map(lambda folder: f"{folder}/.wh..wh..opq".lstrip("/")))
    .map(lambda each: (*each, tarfile.REGTYPE, "")),
)  # fmt: skip


def is_listed(path: str, is_folder: bool) -> bool:
    return "skipped/" not in f"{path}/"[:-1]


def is_wanted(path: str) -> bool:
    return not path.endswith("c")


def layer_of(members: Sequence[tuple[str, bytes, str]]) -> Layer:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number, (path, kind, link) in enumerate(members):
            member = tarfile.TarInfo(path)
            text = f"{path} {number}".encode() if kind == tarfile.REGTYPE else b""
            member.type, member.linkname, member.size, member.mode = kind, link, len(text), 0o640 + number % 8
            archive.addfile(member, io.BytesIO(text))
    return plain_layer(out.getvalue())


def part_of(layer: Layer) -> LayerPart:
    recorder = PartRecorder(is_listed, is_wanted, lambda path, text: text)
    visit(layer, recorder)
    return recorder.part()


def seen(listing: RootListing) -> dict[str, object]:
    """What is where, as far as it is listed; the mode of a folder that is only implied is not known."""
    return {
        path: (node.kind, node.mode * (node.kind is not NodeKind.DIRECTORY), node.link, listing.texts.get(path))
        for path, node in listing.nodes.items()
        if is_listed(path, False)
    }


@given(st.lists(st.lists(MEMBERS, max_size=6), min_size=1, max_size=4))
def test_parts_make_what_their_layers_make(layers: list[list[tuple[str, bytes, str]]]) -> None:
    made = [layer_of([each for each in members if not links_out(each)]) for members in layers]
    try:
        whole = read_listing(image_of(*made), is_wanted)
    except InputError:  # a hard link to nothing
        return
    parts = [LayerPart.from_dict(json.loads(json.dumps(part_of(layer).to_dict()))) for layer in made]
    assert seen(stacked(parts)) == seen(whole)


def links_out(member: tuple[str, bytes, str]) -> bool:
    """Whether a listed path is linked to one that is not: its content is then not that of the part."""
    _, kind, link = member
    return kind == tarfile.LNKTYPE and not is_listed(link, False)


def test_what_is_not_listed_leaves_the_folder_that_it_is_in() -> None:
    part = part_of(layer_of([(f"a/skipped/{name}", tarfile.REGTYPE, "") for name in ("a", "b", ".wh.c")]))
    assert [entry[:2] for entry in part.entries] == [("directory", "a/skipped")]


def test_a_listed_file_may_be_linked_to_one_that_is_not() -> None:
    layer = layer_of([("skipped/a", tarfile.REGTYPE, ""), ("b", tarfile.LNKTYPE, "skipped/a")])
    assert list(stacked([part_of(layer)]).nodes) == ["skipped", "b"]
