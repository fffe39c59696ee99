"""Local copies of advisories are read in each form that OSV's data has, and refused with what is wrong."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from mlflow_dbimage.backends.advisory_sources import local_advisories
from mlflow_dbimage.errors import InputError

ONE, TWO = {"id": "GHSA-1"}, {"id": "GHSA-2"}


def test_a_folder_an_archive_a_list_and_one_document(tmp_path: Path) -> None:
    folder = tmp_path / "folder" / "PyPI"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(json.dumps(ONE))
    (folder / "2.json").write_text(json.dumps(TWO))
    (folder / "README").write_text("no document")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    (tmp_path / "list.json").write_text(json.dumps([ONE, TWO]))
    for path in (tmp_path / "folder", tmp_path / "all.zip", tmp_path / "list.json"):
        assert sorted(each["id"] for each in local_advisories(path)) == ["GHSA-1", "GHSA-2"]
    assert list(local_advisories(folder / "1.json")) == [ONE]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"name": "x"}', "[]"])
def test_what_holds_no_advisories_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        list(local_advisories(path))
    assert caught.value.code == "bad-advisories"
    assert str(path) in caught.value.message


def test_what_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.json", json.dumps({**ONE, "details": "x" * 1000}))
    data = bytearray(damaged.read_bytes())
    data[40] ^= 0xFF
    damaged.write_bytes(data)
    for path in (tmp_path / "missing", tmp_path / "empty", damaged):
        with pytest.raises(InputError):
            list(local_advisories(path))


def test_a_document_of_an_absurd_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.json", b" " * (17 << 20))
    with pytest.raises(InputError, match="would have 17825792 bytes"):
        list(local_advisories(tmp_path / "all.zip"))
