"""The database: what is no database, many who make it at once, and moments that are kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, text

from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.service.database import BUILDS, UNTOLD, open_database, sqlite_url

CLONE = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("nonsense", "bad-value"),
        ("mysql://u:hunter2@host/db", "bad-value"),
        ("sqlite+nothing:///x.db", "bad-value"),
        ("sqlite:////nowhere/at/all/x.db", "database-failed"),
    ],
)
def test_what_cannot_be_opened(url, code):
    with pytest.raises(DbimageError) as caught:
        open_database(url)
    assert caught.value.code == code and "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path):
    file = tmp_path / "builds.db"
    file.write_bytes(b"precious words " * 100)
    with pytest.raises(DbimageError) as caught:
        open_database(sqlite_url(file))
    assert caught.value.code == "database-failed"
    assert file.read_bytes() == b"precious words " * 100


def exit_codes_of_many(url: str) -> list[int]:
    """Have several processes make the tables of a new database at once."""
    code = "import sys; from mlflow_dbimage.service.database import open_database; open_database(sys.argv[1])"
    processes = [subprocess.Popen([sys.executable, "-c", code, url], cwd=CLONE) for _ in range(6)]
    return [process.wait(60) for process in processes]


def test_many_may_make_the_tables_at_once(tmp_path):
    assert exit_codes_of_many(sqlite_url(tmp_path / "new" / "builds.db")) == [0] * 6


@pytest.mark.postgresql
def test_many_may_make_the_tables_at_once_in_postgresql(postgresql):
    assert exit_codes_of_many(postgresql.new_database()) == [0] * 6


def test_what_is_untold_is_found_without_reading_the_whole_table(tmp_path):
    database = open_database(sqlite_url(tmp_path / "builds.db"))
    query = select(BUILDS.c.id).where(UNTOLD).order_by(BUILDS.c.id).limit(100)
    explained = text(f"EXPLAIN QUERY PLAN {query.compile(compile_kwargs={'literal_binds': True})}")
    (plan,) = database.read(lambda connection: connection.execute(explained).all())
    assert "USING INDEX builds_untold" in plan.detail
    database.close()


def test_moments_are_kept_unless_another_was_faster(tmp_path):
    database = open_database(sqlite_url(tmp_path / "builds.db"))
    assert database.moment("m") is None
    assert database.keep_moment("m", 1.5, instead_of=None)
    assert not database.keep_moment("m", 2.5, instead_of=None)
    assert database.keep_moment("m", 3.5, instead_of=1.5)
    assert database.moment("m") == 3.5
    database.close()
