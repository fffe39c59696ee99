"""Readers of what others wrote: what once crashed them, and a few thousand inputs that are always the same."""

from __future__ import annotations

import random

import pytest

from scripts.fuzz.__main__ import mutated
from scripts.fuzz.targets import TARGETS, outcome

DEEP = b"[" * 100_000

#: By reader: what `make fuzz` found, and what it did not, but somebody might send.
FOUND = (
    ("config", b'{"rootfs": {"diff_ids": []}}'),
    ("config", b'{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, "config": {"Env": [7]}}'),
    ("config", b'{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, "history": [7]}'),
    ("wheel-record", b"x/__init__.py,,\n*\n"),
    ("wheel-scripts", b"*a[console_scripts]\n"),
    ("wheel-scripts", b"[console_scripts]\nx = :\n"),
    *((name, DEEP) for name in TARGETS),
    *((name, b'{"manifests": ' + DEEP) for name in TARGETS),
    *((name, b"9" * 10_000) for name in TARGETS),
    *((name, b"\xff\xfe\0") for name in TARGETS),
)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str) -> None:
    for seed in TARGETS[name].seeds:
        outcome(TARGETS[name], seed)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_crashed_once_is_refused(name: str, data: bytes) -> None:
    outcome(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_anything_is_read_or_refused(name: str) -> None:
    for number in range(100):
        chance = random.Random(f"{name} {number}")
        outcome(TARGETS[name], mutated(chance.choice(TARGETS[name].seeds), chance))
