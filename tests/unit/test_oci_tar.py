"""Tar streams: ours, read by the standard library."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.tar import (
    MTIME,
    EntryKind,
    TarEntry,
    directory_entry,
    file_entry,
    hiding,
    sorted_with_parents,
    symlink_entry,
    whiteouts,
    write_tar,
)

names = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
paths = st.lists(names, min_size=1, max_size=6).map("/".join)
modes = st.integers(0, 0o7777)
owners = st.integers(0, 1 << 31)
links = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=150)


@st.composite
def entries(draw: st.DrawFn) -> TarEntry:
    path = draw(paths)
    kind = draw(st.sampled_from(["file", "directory", "link"]))
    if kind == "link":
        return symlink_entry(path, draw(links))
    if kind == "directory":
        return directory_entry(path, draw(modes), draw(owners), draw(owners))
    return replace(file_entry(path, draw(st.binary(max_size=1500)), draw(modes)), uid=draw(owners))


def written(listed: list[TarEntry]) -> bytes:
    out = io.BytesIO()
    write_tar(listed, out)
    return out.getvalue()


def read(data: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
        assert len({member.name for member in members}) == len(members)
        return {
            member.name: (member, archive.extractfile(member).read() if member.isreg() else b"")
            for member in members
        }


def is_tree(listed: list[TarEntry]) -> bool:
    """Whether nothing lies below what is no directory."""
    leaves = [f"{entry.path}/" for entry in listed if entry.kind is not EntryKind.DIRECTORY]
    return not any(entry.path.startswith(leaf) for entry in listed for leaf in leaves)


@given(st.lists(entries(), max_size=6, unique_by=lambda entry: entry.path), st.randoms())
def test_what_is_written_is_what_the_standard_library_reads(listed: list[TarEntry], random) -> None:
    assume(is_tree(listed))
    ordered = sorted_with_parents(listed, {})
    data = written(ordered)
    assert len(data) % 512 == 0
    assert data.endswith(bytes(1024))
    found = read(data)
    assert list(found) == [entry.path for entry in ordered]
    for entry in ordered:
        member, content = found[entry.path]
        assert (member.mode, member.uid, member.gid, member.size) == (
            *(entry.mode, entry.uid, entry.gid),
            entry.size,
        )
        assert (member.mtime, member.uname, member.gname) == (MTIME, "", "")
        assert (member.type, member.linkname) == (entry.kind.value, entry.link)
        assert entry.content is None or content == entry.content().read()
    random.shuffle(listed)
    assert written(sorted_with_parents(listed, {})) == data


@pytest.mark.parametrize("length", [99, 100, 101, 155, 156, 255, 256, 257, 4000])
@pytest.mark.parametrize("shape", ["one name", "many folders", "one folder"])
@pytest.mark.parametrize("make", [lambda path: file_entry(path, b"x", 0o644), directory_entry])
def test_names_of_every_length(length: int, shape: str, make: Callable[[str], TarEntry]) -> None:
    path = {
        "one name": "n" * length,
        "many folders": ("abcdefghi/" * 400)[: length - 1] + "z",
        "one folder": "f" * (length // 2) + "/" + "n" * (length - length // 2 - 1),
    }[shape]
    assert len(path) == length
    assert list(read(written([make(path)]))) == [path]


@pytest.mark.parametrize("folder", [154, 155, 156])
@pytest.mark.parametrize("name", [99, 100, 101])
def test_names_at_the_limits_of_name_and_prefix(folder: int, name: int) -> None:
    path = f"{'f' * folder}/{'n' * name}"
    assert list(read(written([file_entry(path, b"x", 0o644)]))) == [path]


def test_names_and_targets_that_are_not_ascii_are_in_pax_headers() -> None:
    data = written([symlink_entry("é", "ü")])
    assert "path=é\n".encode() in data
    assert "linkpath=ü\n".encode() in data


def test_short_ascii_names_need_no_pax_header() -> None:
    folder = "f" * 155
    data = written([file_entry(f"{folder}/{'n' * 100}", b"", 0o644)])
    assert len(data) == 3 * 512


def test_equal_trees_have_a_literal_digest() -> None:
    """The diff ID of every layer depends on these bytes; a change here changes everybody's images."""
    listed = [
        file_entry("opt/dbimage/bin/score", b"#!/bin/sh\n", 0o755),
        symlink_entry("opt/dbimage/env/lib64", "lib"),
        directory_entry("opt/dbimage/env/empty", 0o700, 5, 6),
        file_entry("opt/dbimage/model/é" + "x" * 120, bytes(700), 0o644),
    ]
    data = written(sorted_with_parents(listed, {"opt": (0o750, 1, 2)}))
    assert hashlib.sha256(data).hexdigest() == "f9286dad24c1802e47fa7ce2e0472e7c39cb54d124fcb05cce0f138b8a163d15"


def test_order_is_that_of_bytes_and_folders_come_first() -> None:
    listed = [file_entry(path, b"", 0o644) for path in ("b/é", "b/z", "a/b", "a-b", "a.b", "B")]
    assert [entry.path for entry in sorted_with_parents(listed, {})] == [
        *("B", "a", "a-b", "a.b", "a/b", "b", "b/z", "b/é")
    ]


def test_missing_folders_get_what_the_base_has_and_given_ones_stay() -> None:
    listed = [file_entry("opt/a/b/c", b"", 0o644), directory_entry("opt/a", 0o700)]
    parents = {"opt": (0o1775, 3, 4), "opt/a": (0o711, 9, 9)}
    folders = {entry.path: (entry.mode, entry.uid, entry.gid) for entry in sorted_with_parents(listed, parents)}
    assert folders == {
        "opt": (0o1775, 3, 4),
        "opt/a": (0o700, 0, 0),
        "opt/a/b": (0o755, 0, 0),
        "opt/a/b/c": (0o644, 0, 0),
    }


def test_arranging_opens_nothing() -> None:
    def opened() -> io.BytesIO:
        raise AssertionError("opened")

    entry = TarEntry(path="a/b", kind=EntryKind.FILE, mode=0o644, size=1 << 50, content=opened)
    assert [each.path for each in sorted_with_parents([entry], {})] == ["a", "a/b"]


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./a", "a/./b", "a//b", "a/", "a\0b"),
        *(".wh.x", "a/.wh.x", ".wh.a/x", ".wh..wh..opq", "a/\udce9"),
    ],
)
def test_paths_that_leave_the_root_or_hide_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot go into an image") as caught:
        sorted_with_parents([file_entry(path, b"", 0o644)], {})
    assert caught.value.code == "model-unsafe"


@pytest.mark.parametrize("target", ["", "a\0b", "\udce9"])
def test_links_without_a_target_that_can_be_written_are_refused(target: str) -> None:
    with pytest.raises(InputError, match="`a` links to"):
        sorted_with_parents([symlink_entry("a", target)], {})


def test_all_problems_are_listed() -> None:
    listed = [file_entry(f"b/../{number:02}", b"", 0o644) for number in range(25)]
    with pytest.raises(InputError) as caught:
        sorted_with_parents([*listed[:3], symlink_entry("a", "")], {})
    assert [line for line in caught.value.message.splitlines() if line.startswith("  ")] == [
        *(f"  'b/../{number:02}' is not a path below the root" for number in range(3)),
        "  `a` links to '', which is no path",
    ]
    with pytest.raises(InputError, match="and 5 more"):
        sorted_with_parents(listed, {})


def test_nothing_stands_twice() -> None:
    with pytest.raises(InputError, match="`a` stands twice"):
        sorted_with_parents([file_entry("a", b"", 0o644), directory_entry("a")], {})


@pytest.mark.parametrize("above", [file_entry("a/b", b"", 0o644), symlink_entry("a/b", "/etc")])
def test_nothing_lies_below_a_file_or_link(above: TarEntry) -> None:
    with pytest.raises(InputError, match="`a/b/c/d` lies below `a/b`, which is no directory"):
        sorted_with_parents([file_entry("a/b/c/d", b"", 0o644), above], {})


@pytest.mark.parametrize("pair", [("b", "a"), ("a", "a")])
def test_the_writer_refuses_wrong_order(pair: tuple[str, str]) -> None:
    with pytest.raises(VerificationError, match="twice or out of order") as caught:
        written([file_entry(path, b"", 0o644) for path in pair])
    assert caught.value.code == "image-invalid"


@pytest.mark.parametrize("promised", [0, 2, 4, 10_000])
def test_a_file_that_changed_its_size_is_refused(promised: int, tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.write_bytes(bytes(promised))
    entry = file_entry("f", source, 0o644)
    source.write_bytes(b"abc")
    with pytest.raises(VerificationError, match=f"does not have the {promised} bytes"):
        written([entry])


def test_sizes_beyond_eleven_octal_digits_are_written_by_pax() -> None:
    """The header alone: the content would be 8 GiB."""
    entry = TarEntry(path="big", kind=EntryKind.FILE, mode=0o644, size=1 << 33, content=io.BytesIO)
    out = io.BytesIO()
    with pytest.raises(VerificationError):
        write_tar([entry], out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue()), mode="r:") as archive:
        assert archive.firstmember.size == 1 << 33


def test_whiteouts_have_their_folders_and_hide_by_name() -> None:
    listed = whiteouts(["opt/b/x", "a"], {"opt": (0o700, 1, 1)})
    assert [(entry.path, entry.mode) for entry in listed] == [
        (".wh.a", 0o644),
        ("opt", 0o700),
        ("opt/b", 0o755),
        ("opt/b/.wh.x", 0o644),
    ]
    assert list(read(written(listed))) == [entry.path for entry in listed]


@pytest.mark.parametrize("path", ["../a", "/a", "", "a/.wh.b"])
def test_whiteouts_stay_below_the_root(path: str) -> None:
    with pytest.raises(InputError, match="cannot go into an image"):
        whiteouts([path], {})


@pytest.mark.parametrize(
    ("gone", "staying", "hidden"),
    [
        ({"a/b/c", "a/b/d"}, {"a/x"}, ("a/b",)),
        ({"a/b/c"}, {"a/b/d"}, ("a/b/c",)),
        ({"a/b/c", "e"}, set(), ("a", "e")),
        ({"a/b/c"}, {"a/b/"}, ("a/b/c",)),
        (set(), {"a"}, ()),
    ],
)
def test_whole_folders_are_hidden_where_nothing_in_them_stays(gone, staying, hidden) -> None:
    assert hiding(gone, staying) == hidden


_TREES = st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), max_size=12)


@given(_TREES, _TREES)
def test_all_that_goes_is_hidden_and_nothing_that_stays(gone: set[str], staying: set[str]) -> None:
    def covers(hidden: str, path: str) -> bool:
        return f"{path}/".startswith(f"{hidden}/")

    files = [
        path for path in gone | staying if not any(covers(path, other) for other in (gone | staying) - {path})
    ]
    gone, staying = {path for path in files if path in gone - staying}, {path for path in files if path in staying}
    hidden = hiding(gone, staying)
    assert all(any(covers(each, path) for each in hidden) for path in gone)
    assert not any(covers(each, path) for each in hidden for path in staying)
