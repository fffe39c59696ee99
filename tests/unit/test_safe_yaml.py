"""YAML of others: text stays text, and what would construct, loop or blow up is refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage import safe_yaml


def test_versions_and_dates_stay_text() -> None:
    data = safe_yaml.load(b"python: 3.10\nruntime: 15.4\nday: 2021-01-20\nnumber: 007\nyes: true\nnone: null\n")
    assert data == {
        "python": "3.10",
        "runtime": "15.4",
        "day": "2021-01-20",
        "number": "007",
        True: True,
        "none": None,
    }


def test_aliases_and_a_byte_order_mark_are_read() -> None:
    assert safe_yaml.load(b"\xef\xbb\xbfa: &x [1]\nb: *x\n") == {"a": ["1"], "b": ["1"]}
    assert safe_yaml.load(b"") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [unclosed", "line"),
        ("a: b: c", "line 1"),
        (
            'a: !!python/object/apply:os.system ["true"]',
            "it asks for an object, `!!python/object/apply:os.system`",
        ),
        ("a: !custom x", "it asks for an object, `!custom`, at line 1"),
        ("a: !!timestamp 2021-01-01", "it asks for an object"),
        ("a: &x\n  b: *x\n", "it contains itself"),
        ("- &x [*x]\n", "it contains itself"),
        # PyYAML 6.0.4 and newer say it themselves, in other words.
        ("[" * 200 + "]" * 200, "nest"),
        ("[" * 5000 + "]" * 5000, "nest"),
        ("--- 1\n--- 2\n", "single document"),
        ("a: *gone\n", "undefined alias"),
        ("? [1]\n: 2\n", "unhashable"),
    ],
)
def test_what_is_refused_is_told_in_one_line(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        safe_yaml.load(text.encode())
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["{}: &{} [{}]", "{}: &{} {{<<: [{}]}}"])
def test_a_bomb_is_refused_before_it_goes_off(form: str) -> None:
    lines = ["z: &z {k: [v, v, v, v, v, v, v, v, v]}"]
    previous = "z"
    for letter in "abcdefghij":
        lines.append(form.format(letter, letter, ", ".join([f"*{previous}"] * 9)))
        previous = letter
    with pytest.raises(ValueError, match="aliases stand for too much"):
        safe_yaml.load("\n".join(lines).encode())


def test_what_is_not_text_or_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="not UTF-8 text at byte 3"):
        safe_yaml.load(b"a: \xff")
    with pytest.raises(ValueError, match="are the most"):
        safe_yaml.load(b" " * (safe_yaml.MAX_SIZE + 1))


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_anything_is_read_or_refused(data: bytes) -> None:
    try:
        safe_yaml.load(data)
    except ValueError as error:
        assert str(error)
