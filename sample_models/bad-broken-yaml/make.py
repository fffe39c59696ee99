"""A conda.yaml that no YAML reader can read."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory)
    (directory / "conda.yaml").write_text("dependencies:\n- python=3.11\n  - pip: [unclosed\n")
