"""What ends a scoring job early, one class for each exit code."""

from __future__ import annotations

from typing import ClassVar, Iterable


class ScoringFailure(Exception):
    """Base of all; its text is one line for the person who ran the job."""

    exit_code: ClassVar[int] = 1


class BadRequest(ScoringFailure):
    """The command line asks for what cannot be."""

    exit_code = 2


class BadInput(ScoringFailure):
    """The input cannot be read, lacks a column, or has rows that cannot be scored."""

    exit_code = 3


class BadModel(ScoringFailure):
    """The model does not load."""

    exit_code = 4


class BadOutput(ScoringFailure):
    """The output cannot be written."""

    exit_code = 5


class PredictFailed(ScoringFailure):
    """The model's `predict` raised, or returned what does not belong to the rows."""

    exit_code = 6


class Stopped(BaseException):
    """A signal asks the job to end; no `except Exception` of a model may keep it.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def one_line(error: BaseException, limit: int = 500) -> str:
    """Describe a foreign exception in one line: its type, and its text without line breaks."""
    text = " ".join(str(error).split())
    if len(text) > limit:
        text = text[:limit] + "..."
    name = type(error).__name__
    return name + ": " + text if text else name


def counted(number: int, noun: str) -> str:
    """Say how many there are of a thing: `1 row`, `2 rows`."""
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")


def names(columns: Iterable[object]) -> str:
    """List names for a message, in backquotes."""
    return ", ".join("`%s`" % (name,) for name in columns)
