"""Layers are unpacked without trusting them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Layer


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = "", mode: int = 0o644):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode, info.mtime = kind, len(data), link, mode, 315532801
    return info, data


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> Layer:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    data = stream.getvalue()
    return Layer(
        descriptor=Descriptor(media_type=OCI_LAYER_TAR, digest=Digest.of(data), size=len(data)),
        diff_id=Digest.of(data),
        open=lambda: io.BytesIO(data),
    )


def test_files_folders_and_links_come_with_modes_and_times(tmp_path: Path):
    unpack_layer(
        layer(
            entry("opt", tarfile.DIRTYPE, mode=0o755),
            entry("opt/tool", data=b"x", mode=0o4755),
            entry("opt/same", tarfile.LNKTYPE, link="opt/tool"),
            entry("opt/short", tarfile.SYMTYPE, link="tool"),
            entry("deep/er/file", data=b"y"),
        ),
        tmp_path,
    )
    tool = tmp_path / "opt/tool"
    assert stat.S_IMODE(tool.stat().st_mode) == 0o755
    assert tool.stat().st_mtime == 315532801
    assert os.path.samefile(tool, tmp_path / "opt/same")
    assert os.readlink(tmp_path / "opt/short") == "tool"
    assert (tmp_path / "deep/er/file").read_bytes() == b"y"


@pytest.mark.parametrize(
    "hostile",
    [
        [entry("../escaped", data=b"x")],
        [entry("a/../../escaped", data=b"x")],
        [entry("/escaped", data=b"x")],
        [entry("out", tarfile.SYMTYPE, link=".."), entry("out/escaped", data=b"x")],
        [entry("out", tarfile.SYMTYPE, link=".."), entry("out/.wh.outside")],
        [entry("out", tarfile.SYMTYPE, link=".."), entry("out/sub/.wh..wh..opq")],
        [entry("escaped", tarfile.LNKTYPE, link="../outside")],
        [entry("out", tarfile.SYMTYPE, link=".."), entry("escaped", tarfile.LNKTYPE, link="out/outside")],
        [entry("out", tarfile.SYMTYPE, link="../outside"), entry("escaped", tarfile.LNKTYPE, link="out")],
        [entry(".wh...")],
        [entry("a/.wh...")],
        [entry(".wh..")],
        [entry(".wh.")],
        [entry("file", data=b"x"), entry("file/below", data=b"x")],
        [entry("null", tarfile.CHRTYPE)],
        [entry("pipe", tarfile.FIFOTYPE)],
    ],
)
def test_hostile_layers_are_refused_and_nothing_leaves_the_folder(hostile, tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_text("safe")
    with pytest.raises(VerificationError) as caught:
        unpack_layer(layer(*hostile), root)
    assert caught.value.code == "image-invalid"
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]
    assert (tmp_path / "outside").read_text() == "safe"


def test_a_file_replaces_a_link_and_does_not_write_through_it(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_text("safe")
    unpack_layer(layer(entry("name", tarfile.SYMTYPE, link="../outside")), root)
    unpack_layer(layer(entry("name", data=b"new")), root)
    assert (tmp_path / "outside").read_text() == "safe"
    assert (root / "name").read_bytes() == b"new"


def test_a_folder_replaces_a_link_to_a_folder(tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    unpack_layer(layer(entry("name", tarfile.SYMTYPE, link="../outside")), root)
    folder = entry("name", tarfile.DIRTYPE, mode=0o755)
    unpack_layer(layer(folder, entry("name/file", data=b"x")), root)
    assert os.listdir(outside) == []
    assert os.listdir(root / "name") == ["file"]


def test_whiteouts_remove_what_lower_layers_brought(tmp_path: Path):
    unpack_layer(
        layer(entry("a/old", data=b"1"), entry("a/kept", data=b"1"), entry("b/c/old", data=b"1")), tmp_path
    )
    unpack_layer(
        layer(
            entry("a/.wh.old"),
            entry("a/.wh.never"),
            entry("b/new", data=b"2"),
            entry("b/.wh..wh..opq"),
            entry("b/c", tarfile.DIRTYPE, mode=0o755),
        ),
        tmp_path,
    )
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert files == {"a", "a/kept", "b", "b/new", "b/c"}


def test_a_folder_goes_with_its_whiteout(tmp_path: Path):
    unpack_layer(layer(entry("a/b/c", data=b"1")), tmp_path)
    unpack_layer(layer(entry(".wh.a")), tmp_path)
    assert os.listdir(tmp_path) == []


def test_bytes_that_are_no_tar_are_refused(tmp_path: Path):
    data = b"no tar " * 200
    broken = Layer(
        descriptor=Descriptor(media_type=OCI_LAYER_TAR, digest=Digest.of(data), size=len(data)),
        diff_id=Digest.of(data),
        open=lambda: io.BytesIO(data),
    )
    with pytest.raises(InputError, match="is damaged"):
        unpack_layer(broken, tmp_path)


_NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh...", ".wh..wh..opq"]), min_size=1, max_size=4
)
_KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
_LINKS = st.sampled_from(["..", "../outside", "a", "b/a", "/etc", "."])


@given(st.lists(st.tuples(_NAMES, _KINDS, _LINKS), max_size=6))
def test_whatever_a_layer_says_nothing_outside_changes(tmp_path_factory: pytest.TempPathFactory, members):
    home = tmp_path_factory.mktemp("home")
    root = home / "root"
    root.mkdir()
    (home / "outside").write_text("safe")
    entries = [entry("/".join(name) or "x", kind, link=link, mode=0o755) for name, kind, link in members]
    try:
        unpack_layer(layer(*entries), root)
    except VerificationError as error:
        assert error.code == "image-invalid"
    assert sorted(os.listdir(home)) == ["outside", "root"]
    assert (home / "outside").read_text() == "safe"
