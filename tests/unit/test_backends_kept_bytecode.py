"""Kept byte code: found by what it is made of, dropped when it is damaged."""

from __future__ import annotations

from pathlib import Path

from mlflow_dbimage.backends.kept_bytecode import KeptBytecode


def keep(kept: KeptBytecode, key: str, data: bytes) -> Path:
    made = kept.directory / ".new"
    made.write_bytes(data)
    return kept.keep(key, made)


def test_a_key_is_of_source_and_name(tmp_path: Path) -> None:
    kept = KeptBytecode(tmp_path)
    keys = {kept.key(source, name) for source in (b"x = 1\n", b"x = 2\n") for name in ("/a.py", "/b.py")}
    assert len(keys) == 4


def test_what_was_kept_is_found_at_once_and_by_the_next_build(tmp_path: Path) -> None:
    kept = KeptBytecode(tmp_path / "new" / "folder")
    key = kept.key(b"x = 1\n", "/a.py")
    assert kept.find(key) is None
    path = keep(kept, key, b"code")
    assert path.read_bytes() == b"code"
    assert kept.find(key) == path
    assert KeptBytecode(kept.directory).find(key) == path


def test_what_is_damaged_is_dropped_and_made_again(tmp_path: Path) -> None:
    kept = KeptBytecode(tmp_path)
    keep(kept, "key", b"code").write_bytes(b"other")
    assert KeptBytecode(tmp_path).find("key") is None
    assert list(tmp_path.iterdir()) == []
    assert keep(kept, "key", b"code").read_bytes() == b"code"


def test_what_was_pruned_meanwhile_is_not_found(tmp_path: Path) -> None:
    kept = KeptBytecode(tmp_path)
    keep(kept, "key", b"code").unlink()
    assert kept.find("key") is None


def test_what_is_under_way_is_not_taken_for_byte_code(tmp_path: Path) -> None:
    (tmp_path / ".new-abc").mkdir()
    assert KeptBytecode(tmp_path).find("") is None
