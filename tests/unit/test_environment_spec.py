from __future__ import annotations

from pathlib import Path

import pytest

from solving import make_spec


@pytest.mark.parametrize(("python", "minor"), [("3.11.7", "3.11"), ("3.7", "3.7"), ("3.13.0rc1", "3.13")])
def test_the_minor_version_is_the_requirement(python: str, minor: str) -> None:
    assert make_spec(Path("m"), python).python_minor == minor
