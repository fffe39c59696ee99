"""Readers of what others wrote: what once crashed them, and a few thousand inputs that are always the same."""

from __future__ import annotations

import random

import pytest

from scripts.fuzz.__main__ import mutated
from scripts.fuzz.targets import TARGETS, outcome


def seed(name: str) -> bytes:
    return TARGETS[name].seeds[0]


DEEP = b"[" * 100_000
DEEP_LIST, DIGITS = b'{"manifests": ' + DEEP, b"9" * 10_000

#: By reader: what `make fuzz` found, and what it did not, but somebody might send.
FOUND = (
    ("self-check", seed("self-check").replace(b'{"$float": "nan"}', b'{"$float": []}')),
    ("expected", b'[{"a": null, "b": "x"}, {"a": 1' + b"0" * 400 + b', "b": 2}]'),
    ("advisory", seed("advisory").replace(b'"events"', b'"event"')),
    ("advisory", b"{}"),
    ("bill-of-materials", seed("bill-of-materials").replace(b"pkg:pypi", b"pkg:npm")),
    ("bill-of-materials", seed("bill-of-materials").replace(b"pkg:", b"")),
    ("config", b'{"rootfs": {"diff_ids": []}}'),
    ("config", b'{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, "config": {"Env": [7]}}'),
    ("config", b'{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, "history": [7]}'),
    ("base-environment", seed("base-environment").replace(b'"3.11.7"', b'"3.' + b"9" * 99 + b'"')),
    ("base-environment", seed("base-environment").replace(b'"size": 1', b'"size": 1' + b"0" * 30)),
    ("base-environment", seed("base-environment").replace(b'["zlib"]', b"0")),
    ("base-environment", seed("base-environment").replace(b'"noarch"', b'"license": false, "noarch"')),
    ("location", b"oci:~nobody-is-called-so/images"),
    ("wheel-record", b"x/__init__.py,,\n*\n"),
    ("wheel-scripts", b"*a[console_scripts]\n"),
    ("wheel-scripts", b"[console_scripts]\nx = :\n"),
    *((name, data) for name in TARGETS for data in (DEEP, DEEP_LIST, DIGITS, b"\xff\xfe\0")),
)
#: Of those, what is text that the format takes.
TAKEN = {
    *((name, data) for name in ("wheel-metadata", "requirements.txt") for data in (DEEP, DEEP_LIST, DIGITS)),
    *((name, DIGITS) for name in ("yaml", "location")),
    ("location", b"oci:~nobody-is-called-so/images"),
    *FOUND[:4],
}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str) -> None:
    assert {outcome(TARGETS[name], seed) for seed in TARGETS[name].seeds} == {"read"}


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_crashed_once_is_refused(name: str, data: bytes) -> None:
    assert outcome(TARGETS[name], data) == ("read" if (name, data) in TAKEN else "refused")


@pytest.mark.parametrize(
    ("name", "value"),
    [("self-check", b'{"$float": "inf"}'), ("self-check", b'{"$float": "nan"}'), ("expected", b'"x"')],
)
def test_a_value_at_the_end_of_what_json_may_nest_crashes_nothing(name: str, value: bytes) -> None:
    for depth in range(700, 1000, 20):  # where that is differs with the version of Python
        data = seed(name).replace(value, b"[" * depth + b"]" * depth)
        assert data != seed(name)
        outcome(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_anything_is_read_or_refused(name: str) -> None:
    found = set()
    for number in range(100):
        chance = random.Random(f"{name} {number}")
        found.add(outcome(TARGETS[name], mutated(chance.choice(TARGETS[name].seeds), chance)))
    assert "refused" in found, "what is changed at random is right"
