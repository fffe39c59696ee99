"""What is found in base images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.inventory import Inventory, read_inventory
from mlflow_dbimage.oci.rootfs import rootfs_image
from oci_samples import LINUX, foreign_tar, image_of, plain_layer

Member = tuple[str, str | bytes | None]
LIB = "usr/lib/x86_64-linux-gnu"


def libc(version: str, maker: str = "Debian GLIBC") -> bytes:
    return (
        b"\x7fELF\0" + f"GNU C Library ({maker} {version}-9) stable release version {version}.\n".encode() + b"\0"
    )


def seen(*layers: list[Member]) -> Inventory:
    return read_inventory(image_of(*(plain_layer(foreign_tar(members)) for members in layers)))


@pytest.mark.parametrize(
    "members",
    [
        [(f"{LIB}/libc.so.6", libc("2.36"))],
        [("./usr/lib64/libc.so.6", libc("2.36"))],
        [("lib/x86_64-linux-gnu/libc.so.6", "libc-2.36.so"), ("lib/x86_64-linux-gnu/libc-2.36.so", libc("2.36"))],
        [("lib64/libc.so.6", libc("2.36", "GNU libc"))],
    ],
)
def test_glibc_says_its_version(members: list[Member]) -> None:
    assert seen(members).glibc == "2.36"


@pytest.mark.parametrize(
    "members",
    [
        [("lib/ld-musl-x86_64.so.1", b"musl libc (x86_64)")],
        [("lib/libc.so.6", b"something else")],
        [("opt/env/lib/libc.so.6", libc("2.17"))],
        [("usr/aarch64-linux-gnu/lib/libc.so.6", libc("2.17"))],
        [("usr/lib/libc.so.6", "../../opt/libc.so.6")],
    ],
)
def test_musl_and_libraries_elsewhere_are_no_glibc(members: list[Member]) -> None:
    assert seen(members).glibc is None


def test_a_higher_layer_replaces_glibc() -> None:
    assert seen([(f"{LIB}/libc.so.6", libc("2.31"))], [(f"{LIB}/libc.so.6", libc("2.9"))]).glibc == "2.9"
    older = [(f"{LIB}/libc.so.6", "libc-2.9.so"), (f"{LIB}/libc-2.9.so", libc("2.9"))]
    assert seen(older, [(f"{LIB}/libc-2.31.so", libc("2.31"))]).glibc == "2.31"


@pytest.mark.parametrize(
    "hiding",
    [
        [(f"{LIB}/.wh.libc.so.6", b"")],
        [("usr/lib/.wh.x86_64-linux-gnu", b"")],
        [(".wh.usr", b"")],
        [("usr", None), ("usr/.wh..wh..opq", b"")],
        [(".wh..wh..opq", b"")],
        [(f"{LIB}/libc.so.6", "musl.so")],
        [(f"{LIB}/libc.so.6", None)],
        [("usr/lib", "elsewhere")],
        [("usr", b"a file")],
    ],
)
def test_what_higher_layers_hide_is_not_seen(hiding: list[Member]) -> None:
    below: list[Member] = [("usr", None), ("usr/lib", None), (f"{LIB}/libc.so.6", libc("2.36"))]
    assert seen(below).glibc == "2.36"
    assert seen(below, hiding).glibc is None


@pytest.mark.parametrize("first", [True, False])
def test_whiteouts_do_not_hide_what_is_in_their_own_layer(first: bool) -> None:
    hiding: list[Member] = [("opt/.wh..wh..opq", b""), ("usr/.wh.lib", b"")]
    bringing: list[Member] = [("opt/new", None), (f"{LIB}/libc.so.6", libc("2.36"))]
    below: list[Member] = [("opt", None), ("opt/old", None), (f"{LIB}/libc.so.6", libc("2.31"))]
    found = seen(below, [*hiding, *bringing] if first else [*bringing, *hiding])
    assert (found.glibc, set(found.directories)) == ("2.36", {"opt", "opt/new"})


def test_names_that_only_begin_alike_are_not_hidden() -> None:
    found = seen([("opt", None), ("opt2", None), ("opt2/x", None)], [(".wh.opt", b"")])
    assert set(found.directories) == {"opt2", "opt2/x"}


def test_directories_are_seen_at_the_top_and_where_we_may_write() -> None:
    members = [
        ("/".join([top, *"abcdef"[:depth]]), None) for top in ("usr", "opt", "databricks") for depth in range(6)
    ]
    assert set(seen(members).directories) == {
        *("usr", "usr/a"),
        *("opt", "opt/a", "opt/a/b", "opt/a/b/c", "opt/a/b/c/d"),
        *("databricks", "databricks/a", "databricks/a/b", "databricks/a/b/c", "databricks/a/b/c/d"),
    }


def test_owners_and_modes_are_those_of_the_highest_layer() -> None:
    lower = plain_layer(foreign_tar([("opt", None), ("tmp", None)], mode=0o1777, uid=1, gid=2))
    upper = plain_layer(foreign_tar([("./opt/", None)], mode=0o750, uid=3, gid=1 << 30))
    assert read_inventory(image_of(lower, upper)).directories == {
        "opt": (0o750, 3, 1 << 30),
        "tmp": (0o1777, 1, 2),
    }


def test_links_and_programs_are_seen_until_something_else_is_there() -> None:
    members: list[Member] = [("bin", "usr/bin"), ("lib", "usr/lib"), ("usr/x", "y")]
    assert seen(members).links == {"bin": "usr/bin", "lib": "usr/lib", "usr/x": "y"}
    assert seen(members, [("bin", None), ("usr/x", b"")]).links == {"lib": "usr/lib"}
    assert seen(members, [(".wh.bin", b""), ("usr", None), ("usr/.wh..wh..opq", b"")]).links == {"lib": "usr/lib"}
    lower = plain_layer(foreign_tar([("bin", None), ("bin/a", b""), ("bin/b", b""), ("bin/c", b"")], mode=0o755))
    upper = plain_layer(foreign_tar([("bin/a", b""), ("bin/b", "a"), ("bin/d", b"")], mode=0o644))
    found = read_inventory(image_of(lower, upper))
    assert (found.programs, found.links) == (("bin/c",), {"bin/b": "a"})


def test_the_system_says_what_it_is() -> None:
    text = b"# comment\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n\nVERSION_ID='12'\nNO_EQUALS\n"
    found = seen([("etc/os-release", "../usr/lib/os-release"), ("usr/lib/os-release", text)])
    assert found.os_release == {"PRETTY_NAME": "Debian GNU/Linux 12", "ID": "debian", "VERSION_ID": "12"}
    assert seen([("etc/os-release", b"ID=a"), ("usr/lib/os-release", b"ID=b")]).os_release == {"ID": "a"}


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "usr/..", "a/../b", "/.wh.x", "../.wh..wh..opq"]
)
def test_paths_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="outside its root") as caught:
        seen([("ok", None), (name, b"")])
    assert caught.value.code == "base-invalid"


def test_a_layer_that_is_no_tar_or_ends_early_is_refused() -> None:
    whole = foreign_tar([("a", b"x" * 2000)])
    for data in (b"", b"no tar" * 500, whole[:600]):
        layer = replace(plain_layer(data), diff_id=Digest.of(whole))
        with pytest.raises(InputError, match=str(layer.descriptor.digest)) as caught:
            read_inventory(image_of(layer))
        assert caught.value.code == "base-invalid"


def test_another_stream_than_the_config_says_is_refused() -> None:
    layer = replace(plain_layer(foreign_tar([("a", b"")])), diff_id=Digest.of(b"other"))
    with pytest.raises(InputError, match="has the diff ID"):
        read_inventory(image_of(layer))


def test_bytes_after_the_end_of_the_archive_are_part_of_the_layer() -> None:
    assert set(seen_raw(foreign_tar([("opt", None)]) + bytes(100_000)).directories) == {"opt"}


def seen_raw(data: bytes) -> Inventory:
    return read_inventory(image_of(plain_layer(data)))


def test_an_empty_layer_is_a_layer() -> None:
    assert seen_raw(bytes(1024)) == Inventory(glibc=None, os_release={}, directories={}, programs=(), links={})


@given(
    st.builds(
        Inventory,
        glibc=st.none() | st.just("2.36"),
        os_release=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
        directories=st.dictionaries(
            st.text(max_size=4),
            st.tuples(st.integers(0, 0o7777), st.integers(0, 1 << 31), st.integers(0, 9)),
            max_size=3,
        ),
        programs=st.lists(st.text(max_size=4), max_size=3).map(tuple),
        links=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
    )
)
def test_the_json_form_is_read_back(inventory: Inventory) -> None:
    assert Inventory.from_dict(json.loads(json.dumps(inventory.to_dict()))) == inventory


@pytest.mark.base
@pytest.mark.slow
def test_a_real_debian_is_understood(base_rootfs: Path, tmp_path: Path) -> None:
    found = read_inventory(rootfs_image(base_rootfs, LINUX, tmp_path, Compression.GZIP))
    assert found.glibc is not None
    assert found.os_release["ID"] == "debian"
    assert found.links["bin"] == "usr/bin"
    assert "usr/bin/dash" in found.programs
    assert found.directories["tmp"] == (0o1777, 0, 0)
    assert found.directories["opt"] == (0o755, 0, 0)
