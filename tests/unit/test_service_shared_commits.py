"""Changes that wait at the same moment: one commit for all, and each one's own result or error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, create_engine, event, text

from mlflow_dbimage.service.shared_commits import SharedCommits, shared_commits


class Table:
    """A table of numbers, whose transactions are counted, and whose first one is held until it is let go."""

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url)
        event.listen(self.engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        self.commits = SharedCommits()
        self.begun = 0
        self.fails = False
        self.holding, self.let_go = threading.Event(), threading.Event()
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        self.begun += 1
        with self.engine.begin() as connection:
            yield connection
            if self.fails:
                raise OSError("the disk is full")

    def add(self, number: int) -> int:
        def work(connection: Connection) -> int:
            connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})
            if number == 0:
                self.holding.set()
                assert self.let_go.wait(30)
            if number < 0:
                raise ValueError(number)
            return number

        return self.commits.change(work, self.begin)

    def numbers(self) -> list[int]:
        with self.engine.begin() as connection:
            return list(connection.scalars(text("SELECT number FROM numbers ORDER BY number")))

    def together(self, numbers: list[int]) -> list[Future[int]]:
        """Add numbers that all wait for the same moment, and one before them."""
        with ThreadPoolExecutor(len(numbers) + 1) as pool:
            first = pool.submit(self.add, 0)
            assert self.holding.wait(30)
            rest = [pool.submit(self.add, number) for number in numbers]
            while len(self.commits._waiting) < len(numbers):
                threading.Event().wait(0.001)
            self.let_go.set()
        return [first, *rest]


@pytest.fixture
def table(tmp_path) -> Iterator[Table]:
    table = Table(f"sqlite:///{tmp_path}/numbers.db")
    yield table
    table.engine.dispose()


def test_those_that_wait_share_one_commit(table):
    made = table.together([1, 2, 3, 4])
    assert sorted(each.result() for each in made) == [0, 1, 2, 3, 4]
    assert (table.begun, table.numbers()) == (2, [0, 1, 2, 3, 4])


def test_one_that_fails_undoes_its_own_changes_alone(table):
    made = table.together([1, -2, 1, 3])
    errors = sorted(type(each.exception()).__name__ for each in made if each.exception())
    assert errors == ["IntegrityError", "ValueError"]
    assert (table.begun, table.numbers()) == (2, [0, 1, 3])
    with pytest.raises(ValueError, match="-5"):
        table.add(-5)
    assert table.numbers() == [0, 1, 3]


def test_a_commit_that_fails_is_told_to_all(table):
    table.fails = True
    made = table.together([1, 2])
    assert [str(each.exception()) for each in made] == ["the disk is full"] * 3
    table.fails = False
    assert (table.add(4), table.numbers()) == (4, [4])


def test_all_who_open_a_database_wait_for_each_other():
    kept = shared_commits("sqlite:////a.db")
    assert shared_commits("sqlite:////a.db") is kept
    assert shared_commits("sqlite:////b.db") is not kept
