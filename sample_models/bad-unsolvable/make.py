"""Two lines of conda.yaml that no version satisfies."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory, conda=["demo-rates>=2", "demo-rates<2"])
