"""A model without any file that says what it needs."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory)
    for name in ("conda.yaml", "python_env.yaml", "requirements.txt"):
        (directory / name).unlink()
