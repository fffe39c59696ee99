"""A symbolic link that leads out of the model directory."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory)
    (directory / "artifacts").mkdir()
    (directory / "artifacts" / "notes.txt").symlink_to("/etc/passwd")
