"""Two pinned pip packages that exclude each other: requests 2.32 needs a newer urllib3."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory, pip=["requests==2.32.3", "urllib3==1.20"])
