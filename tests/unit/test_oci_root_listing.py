"""What a listing of an image's root has: every path, after every whiteout, and the texts that were wanted."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci import root_listing
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.root_listing import Node, NodeKind, RootListing, read_listing
from mlflow_dbimage.oci.rootfs import rootfs_image
from mlflow_dbimage.oci.tar import file_entry, sorted_with_parents
from oci_samples import LINUX, foreign_tar, image_of, plain_layer, without_blobs

Member = tuple[str, str | bytes | None]


def listed(*layers: list[Member], wanted=lambda path: True) -> RootListing:
    return read_listing(image_of(*(plain_layer(foreign_tar(members)) for members in layers)), wanted)


def shown(listing: RootListing) -> dict[str, str | bytes | None]:
    """Return what is where, as members of `foreign_tar` say it."""
    return {
        path: listing.texts[path] if node.kind is NodeKind.FILE else node.link or None
        for path, node in listing.nodes.items()
    }


def test_every_path_is_listed_with_what_its_entry_says():
    layer = plain_layer(
        foreign_tar([("./a", None), ("a/b", b"text"), ("c", "a/b")], mode=0o4751, uid=3, gid=1 << 30)
    )
    owner = {"mode": 0o4751, "uid": 3, "gid": 1 << 30}
    assert read_listing(image_of(layer), lambda path: False) == RootListing(
        nodes={
            "a": Node(kind=NodeKind.DIRECTORY, **owner),
            "a/b": Node(kind=NodeKind.FILE, size=4, **owner),
            "c": Node(kind=NodeKind.SYMLINK, link="a/b", **owner),
        },
        texts={},
    )


def test_folders_without_an_entry_are_there():
    assert listed([("a/b/c", b"")]).nodes["a/b"] == Node(kind=NodeKind.DIRECTORY, mode=0o755)


def test_texts_are_kept_where_they_are_wanted():
    members: list[Member] = [("a/METADATA", b"Name: a"), ("a/code.py", b"pass"), ("b/METADATA", b"Name: b")]
    assert listed(members, wanted=lambda path: path.endswith("/METADATA")).texts == {
        "a/METADATA": b"Name: a",
        "b/METADATA": b"Name: b",
    }


def test_a_text_that_a_higher_layer_replaces_is_forgotten():
    below: list[Member] = [("a", b"old"), ("b", b"old"), ("c", b"old"), ("d", b"old")]
    above: list[Member] = [("a", b"new"), ("b", "a"), ("c", None), (".wh.d", b"")]
    assert listed(below, above).texts == {"a": b"new"}


def test_large_texts_are_listed_without_their_content(monkeypatch):
    monkeypatch.setattr(root_listing, "MOST_TEXT", 3)
    listing = listed([("a", b"123"), ("b", b"1234")])
    assert (listing.texts, listing.nodes["b"].size) == ({"a": b"123"}, 4)


@pytest.mark.parametrize(
    "hiding",
    [
        [("a/b/.wh.c", b"")],
        [("a/.wh.b", b"")],
        [(".wh.a", b"")],
        [("a", None), ("a/.wh..wh..opq", b"")],
        [(".wh..wh..opq", b"")],
        [("a", b"a file")],
        [("a/b", "a link")],
    ],
)
def test_what_higher_layers_hide_is_not_listed(hiding: list[Member]):
    assert "a/b/c" in listed([("a/b/c", b"")]).nodes
    assert "a/b/c" not in listed([("a/b/c", b"")], hiding).nodes


@pytest.mark.parametrize("first", [True, False])
def test_whiteouts_do_not_hide_what_is_in_their_own_layer(first: bool):
    hiding: list[Member] = [("a/.wh..wh..opq", b""), (".wh.b", b"")]
    bringing: list[Member] = [("a/new", b"1"), ("b/new", b"2")]
    listing = listed([("a/old", b""), ("b/old", b"")], [*hiding, *bringing] if first else [*bringing, *hiding])
    assert shown(listing) == {"a": None, "a/new": b"1", "b": None, "b/new": b"2"}


def test_a_folder_keeps_what_is_in_it_when_a_higher_layer_changes_its_mode():
    lower = plain_layer(foreign_tar([("a", None), ("a/b", b"")]))
    upper = plain_layer(foreign_tar([("a", None)], mode=0o700))
    listing = read_listing(image_of(lower, upper), lambda path: False)
    assert (listing.nodes["a"].mode, "a/b" in listing.nodes) == (0o700, True)


@pytest.mark.parametrize("below", [[("a", "elsewhere")], [("a", b"a file")]])
def test_a_folder_that_a_path_implies_replaces_what_is_no_folder(below: list[Member]):
    assert shown(listed(below, [("a/b", b"x")])) == {"a": None, "a/b": b"x"}


def hard_links(*links: tuple[str, str], files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            archive.addfile(member)
    return out.getvalue()


def test_a_hard_link_is_the_file_that_it_names():
    lower = plain_layer(foreign_tar([("below", b"one")]))
    upper = plain_layer(hard_links(("x", "./beside"), ("y", "below"), files={"beside": b"two"}))
    listing = read_listing(image_of(lower, upper), lambda path: True)
    assert listing.texts == {"below": b"one", "beside": b"two", "x": b"two", "y": b"one"}
    assert (listing.nodes["x"].kind, listing.nodes["y"].size) == (NodeKind.FILE, 3)


@pytest.mark.parametrize("target", ["nothing", "../x", "/etc/passwd", "folder"])
def test_a_hard_link_to_no_file_of_the_image_is_refused(target: str):
    layer = plain_layer(hard_links(("x", target), files={"folder/file": b""}))
    with pytest.raises(InputError) as caught:
        read_listing(image_of(layer), lambda path: True)
    assert caught.value.code == "base-invalid"


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "usr/..", "/.wh.x", "../.wh..wh..opq"])
def test_paths_that_leave_the_root_are_refused(name: str):
    with pytest.raises(InputError, match="outside its root") as caught:
        listed([("ok", None), (name, b"")])
    assert caught.value.code == "base-invalid"


@pytest.mark.parametrize(
    "members",
    [
        [(f"folder/{number}", b"") for number in range(300)],
        [("/".join("x" * 300), b"")],
        [("text", bytes(200_000))],
        [("link", "y" * 150_000)],
    ],
)
def test_a_listing_takes_no_more_memory_than_it_may(members: list[Member], monkeypatch):
    monkeypatch.setattr(root_listing, "_MOST_MEMORY", 100_000)
    with pytest.raises(InputError, match="more paths than can be listed"):
        listed(members)


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_compressed_layers_are_read(compression: Compression, tmp_path: Path):
    entries = [file_entry("opt/a", b"one", 0o600), file_entry("opt/b", b"two", 0o755)]
    layer = as_layer(write_layer(sorted_with_parents(entries, {}), tmp_path, compression))
    assert shown(read_listing(image_of(layer), lambda path: True)) == {
        "opt": None,
        "opt/a": b"one",
        "opt/b": b"two",
    }


def test_the_layers_that_are_done_are_reported():
    image = image_of(plain_layer(foreign_tar([("a", b"")])), plain_layer(foreign_tar([("b", bytes(100_000))])))
    done: list[int] = []
    read_listing(image, lambda path: False, done.append)
    assert done == [layer.descriptor.size for layer in image.layers]


def test_another_stream_than_the_config_or_the_manifest_says_is_refused():
    layer = plain_layer(foreign_tar([("a", b"")]))
    with pytest.raises(InputError, match="has the diff ID"):
        read_listing(image_of(replace(layer, diff_id=Digest.of(b"other"))), lambda path: False)
    changed = without_blobs(image_of(layer), {layer.descriptor.digest: b"no tar" * 500})
    with pytest.raises((InputError, VerificationError)):
        read_listing(changed, lambda path: False)


LINKS = listed(
    [
        ("usr/bin/python3", "python3.11"),
        ("usr/bin/python3.11", b"program"),
        ("bin", "usr/bin"),
        ("etc/alternatives/java", "/usr/lib/jvm/zulu17/bin/java"),
        ("usr/bin/java", "/etc/alternatives/java"),
        ("usr/lib/jvm/zulu17/bin/java", b""),
        ("usr/lib/jvm/default", "../../lib/jvm/./zulu17"),
        ("circle", "circle2"),
        ("circle2", "circle"),
        ("above", "../../../../bin"),
        ("to-root", "/"),
    ]
)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("bin/python3", "usr/bin/python3.11"),
        ("usr/bin/java", "usr/lib/jvm/zulu17/bin/java"),
        ("usr/lib/jvm/default/bin/java", "usr/lib/jvm/zulu17/bin/java"),
        ("above/python3", "usr/bin/python3.11"),
        ("to-root/bin", "usr/bin"),
        ("bin/", "usr/bin"),
        ("usr/bin/../bin/./python3", "usr/bin/python3.11"),
        ("to-root", ""),
        ("circle", None),
        ("usr/bin/python3.11/", None),
        ("usr/bin/python3/..", None),
        ("nothing", None),
        ("nothing/..", None),
    ],
)
def test_links_are_followed_inside_the_image(path: str, place: str | None):
    assert LINKS.resolve(path) == place


def test_files_are_found_through_links():
    assert LINKS.text("bin/python3") == "program"
    assert LINKS.find("bin/python3").size == 7
    assert LINKS.find("bin").kind is NodeKind.DIRECTORY
    assert (LINKS.find("circle"), LINKS.text("nothing")) == (None, None)
    assert LINKS.names("usr/bin") == ("java", "python3", "python3.11")
    assert LINKS.names("bin") == LINKS.names("nothing") == ()
    assert LINKS.names("usr") == ("bin", "lib")
    assert "usr" in LINKS.names("")


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
CONTENTS = st.none() | st.binary(max_size=3) | st.just("a link")
LAYER = st.tuples(
    st.lists(st.tuples(PATHS, CONTENTS), max_size=5),
    st.lists(PATHS | PATHS.map("{}/.".format) | st.just("."), max_size=2),
)


def laid_out(layers) -> dict[str, str | bytes | None]:
    """Lay layers on one another in the most naive way: whiteouts first, then member by member, in a flat table."""
    files: dict[str, str | bytes | None] = {}

    def hide(path: str) -> None:
        for known in [known for known in files if known == path or known.startswith(f"{path}/")]:
            del files[known]

    for members, hidden in layers:
        for path in hidden:
            if path == ".":
                files.clear()
            elif path.endswith("/."):
                keep = files.get(path[:-2], "nothing")
                hide(path[:-2])
                if keep != "nothing":
                    files[path[:-2]] = keep
            else:
                hide(path)
        for path, content in members:
            parts = path.split("/")
            for folder in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
                if files.setdefault(folder, None) is not None:
                    files[folder] = None
            if content is not None or files.get(path) is not None:
                hide(path)
            files[path] = content
    return files


def tar_of(layer, *, whiteouts_first: bool) -> bytes:
    members, hidden = layer
    markers: list[Member] = []
    for path in hidden:
        folder, _, name = path.rpartition("/")
        marker = ".wh..wh..opq" if name == "." else f".wh.{name}"
        markers.append((f"{folder}/{marker}" if folder else marker, b""))
    return foreign_tar([*markers, *members] if whiteouts_first else [*members, *markers])


@given(st.lists(LAYER, min_size=1, max_size=4), st.booleans())
def test_any_layers_give_what_laying_them_out_would(layers, whiteouts_first: bool):
    tars = (tar_of(layer, whiteouts_first=whiteouts_first) for layer in layers)
    listing = read_listing(image_of(*(plain_layer(data) for data in tars)), lambda path: True)
    assert shown(listing) == laid_out(layers)
    assert RootListing.from_dict(json.loads(json.dumps(listing.to_dict()))) == listing


@pytest.mark.base
@pytest.mark.slow
def test_a_real_debian_is_listed(base_rootfs: Path, tmp_path: Path):
    image = rootfs_image(base_rootfs, LINUX, tmp_path, Compression.GZIP)
    listing = read_listing(image, {"usr/lib/os-release", "etc/passwd"}.__contains__)
    assert "ID=debian" in listing.text("etc/os-release")
    assert listing.text("etc/passwd").startswith("root:x:0:0:")
    assert listing.resolve("bin/sh") == "usr/bin/dash"
    assert listing.nodes["usr/bin/sudo"].mode == 0o4755
    with tarfile.open(base_rootfs) as archive:
        paths = {member.name.removeprefix("./").rstrip("/") for member in archive} - {"", "."}
    assert set(listing.nodes) == paths
