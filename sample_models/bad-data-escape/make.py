"""An MLmodel whose artifact lies outside the model directory."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory)
    mlmodel = directory / "MLmodel"
    artifacts = "    artifacts:\n      notes:\n        path: ../outside.txt\n        uri: outside.txt\n"
    mlmodel.write_text(mlmodel.read_text().replace("    code: null\n", f"    code: null\n{artifacts}"))
