"""Members of wheels, read as `zipfile` reads them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_dbimage.backends.wheel_archive import WheelArchive

CONTENTS = {"a.py": b"x = 1\n" * 500, "empty": b"", "ü.txt": b"1", "big": bytes(9 << 20)}
KINDS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def archive(path: Path, kind: int) -> Path:
    with zipfile.ZipFile(path, "w", kind) as made:
        for name, content in CONTENTS.items():
            made.writestr(name, content)
    return path


def read_all(path: Path) -> dict[str, bytes]:
    with path.open("rb") as stream, WheelArchive(stream) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_member_is_read(tmp_path: Path, kind: int) -> None:
    assert read_all(archive(tmp_path / "x.zip", kind)) == CONTENTS


def test_members_behind_other_bytes_and_of_unknown_length_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with path.open("wb") as out:
        out.write(b"a program that unpacks itself")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made, made.open("a.py", "w") as member:
            member.write(CONTENTS["a.py"])
    assert read_all(path) == {"a.py": CONTENTS["a.py"]}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("a.py", "empty", "ü.txt"):
            made.writestr(name, CONTENTS[name])
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_what_is_damaged_is_refused_or_read_as_zipfile_reads_it(small: Path, where: float, value: int) -> None:
    data = bytearray(small.read_bytes())
    data[int(where * len(data))] ^= value
    path = small.parent / "damaged.zip"
    path.write_bytes(data)
    try:
        found = read_all(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError, KeyError):
        return
    except Exception as error:
        assert type(error).__module__ in ("zlib", "_lzma"), error
        return
    with zipfile.ZipFile(path) as known:
        assert found == {name: known.read(name) for name in known.namelist()}


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a", bytes(1 << 20))
        made.getinfo("a").file_size = 10
    with pytest.raises(zipfile.BadZipFile):
        read_all(path)
