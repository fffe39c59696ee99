"""A file whose name would delete another one in an image: OCI layers call that a whiteout."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory)
    (directory / "artifacts").mkdir()
    (directory / "artifacts" / ".wh.model.py").write_text("In a layer, this removes artifacts/model.py.\n")
