"""Results as lines: sizes, tables and notes."""

from __future__ import annotations

import pytest

from plugin_entrypoints import terminal


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (4100, "4.1 kB"),
        (99_400, "99.4 kB"),
        (99_999, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (1_234_567_890, "1.23 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes(count, text):
    assert terminal.size(count) == text


def test_tables_line_up_and_end_without_spaces():
    text = terminal.table([("a", 1), ("longer", None)], ("name", "n"))
    assert text == "name    n\na       1\nlonger  -"


def test_facts_leave_out_what_is_not_there():
    assert terminal.facts([("a", 1), ("longer", "x"), ("gone", None), ("empty", "")]) == "a       1\nlonger  x"


def test_notes_stand_apart():
    assert terminal.notes(()) == ""
    assert terminal.notes(("one", "two")) == "\n\nnote: one\nnote: two"
