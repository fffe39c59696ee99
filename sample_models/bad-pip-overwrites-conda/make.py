"""A conda package and a pip package of another name that bring the same file, six.py."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory, conda=["six-fork"], pip=["six==1.16.0"])
