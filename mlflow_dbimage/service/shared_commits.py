"""Changes of one process to one database, one after another; those that wait at the same moment share a commit.

A commit is what takes time: the disk has to have it. SQLite's own way to wait for another's is to look again now
and then, at last ten times a second, and whoever looks at the right moment is next: under fifty changes a second
some wait for seconds. Here whoever is next makes the changes of all who wait, so nobody waits for more than two
commits of this process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import Connection

Result = TypeVar("Result")


@dataclass(slots=True)
class _Change:
    work: Callable[[Connection], Any]
    is_made: bool = False
    result: Any = None
    error: BaseException | None = None


class SharedCommits:
    """The changes that wait for one database."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[_Change] = []

    def change(
        self, work: Callable[[Connection], Result], begin: Callable[[], AbstractContextManager[Connection]]
    ) -> Result:
        """Do `work` in a transaction, which others may share, and return its result when that is durable.

        Args:
            work: Raises what it likes: its own changes are undone, and others' are not.
            begin: Begins a transaction, which is committed at the end of the context.
        """
        mine = _Change(work)
        with self._guard:
            self._waiting.append(mine)
        with self._turn:
            if not mine.is_made:
                with self._guard:
                    group, self._waiting = self._waiting, []
                _make(group, begin)
        if mine.error is not None:
            raise mine.error
        result: Result = mine.result
        return result


def shared_commits(url: str) -> SharedCommits:
    """Return the changes that wait for the database of a URL, the same to all who ask in this process."""
    with _OF_ALL:
        return _BY_URL.setdefault(url, SharedCommits())


_OF_ALL = threading.Lock()
_BY_URL: WeakValueDictionary[str, SharedCommits] = WeakValueDictionary()


def _make(group: list[_Change], begin: Callable[[], AbstractContextManager[Connection]]) -> None:
    try:
        with begin() as connection:
            if len(group) == 1:
                group[0].result = group[0].work(connection)
            else:
                for each in group:
                    _make_among_others(each, connection)
    except BaseException as error:  # whoever waits has to be told
        for each in group:
            each.error = error
    for each in group:
        each.is_made = True


def _make_among_others(change: _Change, connection: Connection) -> None:
    try:
        with connection.begin_nested():
            change.result = change.work(connection)
    except Exception as error:  # raised where the change was wanted
        change.error = error
