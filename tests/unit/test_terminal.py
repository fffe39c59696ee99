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


def finding(state, severity="error", **more):
    return {"rule": "java", "state": state, "severity": severity, "detail": "it is 17", **more}


def test_a_verification_shows_what_is_right_and_how_to_mend_what_is_not():
    mend = {"reason": "Spark runs on it", "mend": "install JDK 8"}
    findings = [
        finding("found") | {"rule": "bash"},
        finding("wrong", **mend),
        finding("unknown", "warning", **mend),
    ]
    data = {"image": "oci:x", "digest": "sha256:1", "runtime": "15.4-lts", "spark_version": "15.4.x-scala2.12"}
    assert terminal.verification({**data, "findings": findings}) == (
        "image    oci:x\n"
        "digest   sha256:1\n"
        "runtime  15.4-lts, on clusters of 15.4.x-scala2.12\n"
        "\n"
        "ok       bash  it is 17\n"
        "ERROR    java  wrong: it is 17\n"
        "               reason: Spark runs on it\n"
        "               mend: install JDK 8\n"
        "warning  java  unknown: it is 17\n"
        "               reason: Spark runs on it\n"
        "               mend: install JDK 8\n"
        "\n"
        "3 rules: 1 broken, 1 warnings; clusters are not expected to work with the image"
    )
