"""Members of tar streams, held against `tarfile`, which reads them another way."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.oci import tar_members
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.tar_members import TarMembers

Told = list[tuple[dict[str, object], bytes | None]]

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)
NUMBERS = st.integers(0, 1 << 40)
TYPES = st.sampled_from([b"0", b"1", b"2", b"5", b"3", b"6", b"7", b"Z"])
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An archive in one of the forms that there are."""
    out = io.BytesIO()
    form = draw(FORMATS)
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for _ in range(draw(st.integers(0, 4))):
            member = tarfile.TarInfo(draw(NAMES))
            member.type = draw(TYPES)
            member.mode = draw(st.integers(0, 0o7777))
            member.uid, member.gid, member.mtime = draw(NUMBERS), draw(NUMBERS), draw(NUMBERS)
            member.linkname, member.uname = draw(NAMES), draw(NAMES)[:8]
            data = draw(st.binary(max_size=1500)) if member.type in (b"0", b"7") else b""
            member.size = len(data)
            try:
                archive.addfile(member, io.BytesIO(data))
            except ValueError:  # ustar has no room for it
                assert form == tarfile.USTAR_FORMAT
    return out.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An archive of which some bytes are others, or lacking."""
    data = bytearray(draw(archives()))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, min(len(data) - 1, 2048)))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


def ours(data: bytes) -> Told:
    members = TarMembers(io.BytesIO(data))
    told = [(shown(member), content().read() if member.isreg() else None) for member, content in members]
    assert members.digest == Digest.of(data)
    return told


def theirs(data: bytes) -> Told:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        told: Told = []
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            told.append((shown(member), None if stream is None else stream.read()))
        return told


def shown(member: tarfile.TarInfo) -> dict[str, object]:
    return {**member.get_info(), "pax": member.pax_headers, "sparse": member.sparse, "at": member.offset_data}


def outcome(read: Callable[[bytes], Told], data: bytes) -> Told | str:
    try:
        return read(data)
    except (tarfile.TarError, ValueError) as error:
        return type(error).__name__


@given(damaged())
def test_what_tarfile_reads_is_read_and_what_it_refuses_is_refused(data: bytes):
    assert outcome(ours, data) == outcome(theirs, data)


@pytest.mark.parametrize("piece", [1, 511, 512, 513, 1500])
def test_pieces_of_a_stream_may_end_anywhere(piece: int, monkeypatch: pytest.MonkeyPatch):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, size in (("a", 0), ("b" * 300, 511), ("c", 512), ("d", 2000)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(name[:1].encode() * size))
    monkeypatch.setattr(tar_members, "_CHUNK", piece)
    assert ours(out.getvalue()) == theirs(out.getvalue())


def test_contents_that_nobody_reads_are_digested_too():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("a")
        member.size = 5000
        archive.addfile(member, io.BytesIO(bytes(5000)))
    data = out.getvalue() + b"more"
    members = TarMembers(io.BytesIO(data))
    assert [member.name for member, _ in members] == ["a"]
    assert members.digest == Digest.of(data)


def test_a_file_that_says_to_be_larger_than_all_that_follows_is_refused_at_once():
    member = tarfile.TarInfo("a")
    member.size = 1 << 60
    with pytest.raises(tarfile.ReadError, match="unexpected end of data"):
        list(TarMembers(io.BytesIO(member.tobuf(tarfile.GNU_FORMAT) + bytes(3000))))
