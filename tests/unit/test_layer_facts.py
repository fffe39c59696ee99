"""What is read of a layer, from real layers."""

from __future__ import annotations

import importlib.util
import marshal
import struct
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.layer_facts import LayerFacts, LookInterruptedError, facts_of
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.tar import MTIME, EntryKind, TarEntry, file_entry
from score_images import layer_of

PREFIX = "opt/dbimage/env"
SOURCE = b"x = 1\n"


def bytecode(source: bytes, *, time: int = MTIME, size: int | None = None, magic: bytes | None = None) -> bytes:
    """Byte code of this Python, as `compile_bytecode` writes it."""
    header = struct.pack("<III", 0, time, len(source) if size is None else size)
    return (magic or importlib.util.MAGIC_NUMBER) + header + marshal.dumps(compile(source, "m.py", "exec"))


def tag() -> str:
    from sys import implementation

    assert implementation.cache_tag is not None
    return implementation.cache_tag


def read(folder: Path, *entries: TarEntry, **more: object) -> LayerFacts:
    layer = layer_of(folder / "blobs", *entries, **more)  # type: ignore[arg-type]
    (facts,) = facts_of([layer], BuildCache(folder / "cache"), threading.Event())
    return facts


def test_a_layer_that_is_right_has_nothing_to_tell(tmp_path: Path):
    facts = read(
        tmp_path,
        file_entry(f"{PREFIX}/lib/m.py", SOURCE, 0o644),
        file_entry(f"{PREFIX}/lib/__pycache__/m.{tag()}.pyc", bytecode(SOURCE), 0o644),
    )
    assert facts == LayerFacts()


def test_what_is_read_once_is_kept(tmp_path: Path):
    layer = layer_of(tmp_path / "blobs", file_entry("opt/dbimage/bin/x", b"#!/bin/sh\n", 0o755))
    cache = BuildCache(tmp_path / "cache")
    (first,) = facts_of([layer], cache, threading.Event())
    for path in (tmp_path / "blobs").iterdir():
        path.unlink()
    assert facts_of([layer, layer], cache, threading.Event()) == (first, first)
    assert first.scripts == {"opt/dbimage/bin/x": "/bin/sh"}


def test_programs_links_and_interpreters_are_listed(tmp_path: Path):
    long = b"#!/bin/sh\n'''exec' \"/opt/dbimage/env/bin/python\" \"$0\" \"$@\"\n' '''\nimport x\n"
    facts = read(
        tmp_path,
        file_entry(f"{PREFIX}/bin/plain", b"#!/opt/dbimage/env/bin/python3 -s\n", 0o755),
        file_entry(f"{PREFIX}/bin/long", long, 0o755),
        file_entry(f"{PREFIX}/bin/binary", b"\x7fELF", 0o755),
        file_entry(f"{PREFIX}/share/example", b"#!/no/where\n", 0o755),
        TarEntry(path=f"{PREFIX}/bin/python", kind=EntryKind.SYMLINK, mode=0o777, link="python3.11"),
    )
    assert facts.scripts == {
        f"{PREFIX}/bin/plain": "/opt/dbimage/env/bin/python3",
        f"{PREFIX}/bin/long": "/opt/dbimage/env/bin/python",
    }
    assert facts.links == {f"{PREFIX}/bin/python": "python3.11"}
    assert f"{PREFIX}/bin/binary" in facts.programs


def test_files_and_folders_that_are_not_for_everybody(tmp_path: Path):
    facts = read(
        tmp_path,
        file_entry("opt/dbimage/model/MLmodel", b"x", 0o640),
        file_entry("opt/dbimage/model/open", b"x", 0o644),
        parents={"opt": (0o755, 0, 0), "opt/dbimage": (0o750, 0, 0)},
    )
    assert facts.closed == ("opt/dbimage", "opt/dbimage/model/MLmodel")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (bytecode(SOURCE, size=99), "another source"),
        (bytecode(SOURCE, time=MTIME + 1), "another source"),
        (bytecode(SOURCE, magic=b"\x42\x0d\r\n"), "of another Python"),
        (b"", "cut off"),
        (bytecode(SOURCE)[:10], "cut off"),
    ],
)
def test_byte_code_that_is_not_its_sources(tmp_path: Path, code: bytes, words: str):
    facts = read(
        tmp_path,
        file_entry(f"{PREFIX}/lib/m.py", SOURCE, 0o644),
        file_entry(f"{PREFIX}/lib/__pycache__/m.{tag()}.pyc", code, 0o644),
    )
    (fault,) = facts.stale
    assert words in fault
    assert fault.startswith(f"`/{PREFIX}/lib/__pycache__/m.{tag()}.pyc` ")


def test_secrets_are_looked_for_in_what_is_ours_and_not_in_packages(tmp_path: Path):
    key = b"-----BEGIN " + b"PRIVATE KEY-----\nx"
    facts = read(
        tmp_path,
        file_entry(f"{PREFIX}/lib/test_key.pem", key, 0o644),
        file_entry("opt/dbimage/model/code/settings.py", key, 0o644),
        file_entry("opt/dbimage/lock/pylock.toml", b'url = "https://ada:' + b'engine@index.example/x"', 0o644),
    )
    assert facts.secrets == (
        "a URL with a password in `/opt/dbimage/lock/pylock.toml`",
        "a private key in `/opt/dbimage/model/code/settings.py`",
    )


def test_of_many_layers_each_has_its_own_facts_and_is_reported(tmp_path: Path):
    layers = [layer_of(tmp_path / "blobs", file_entry(f"opt/{at}", b"x" * at * 99, 0o600)) for at in range(9)]
    done: list[int] = []
    facts = facts_of(layers, BuildCache(tmp_path / "cache"), threading.Event(), done.append)
    assert [each.closed for each in facts] == [(f"opt/{at}",) for at in range(9)]
    assert sum(done) == sum(layer.descriptor.size for layer in layers)


def test_a_layer_that_is_not_what_it_should_be_has_no_other_facts(tmp_path: Path):
    layer = layer_of(tmp_path / "blobs", file_entry("opt/x", b"", 0o600))
    wrong = replace(layer, diff_id=Digest.of(b"other"))
    (facts,) = facts_of([wrong], BuildCache(tmp_path / "cache"), threading.Event())
    assert facts == LayerFacts(problems=(f"its tar stream has the diff ID {layer.diff_id}, not {wrong.diff_id}",))


def test_nothing_is_read_on_when_all_shall_end(tmp_path: Path):
    layer = layer_of(tmp_path / "blobs", file_entry("opt/x", b"", 0o644))
    stop = threading.Event()
    stop.set()
    with pytest.raises(LookInterruptedError):
        facts_of([layer], BuildCache(tmp_path / "cache"), stop)
    assert not list((tmp_path / "cache").rglob("*.json"))
