"""A pickle made by Python 3.8, and an environment with the running Python."""

from __future__ import annotations

import platform
from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory)
    mlmodel = directory / "MLmodel"
    text = mlmodel.read_text().replace(f"python_version: {platform.python_version()}", "python_version: 3.8.18")
    text = text.replace("mlflow.pyfunc.loaders.code_model", "mlflow.pyfunc.model")
    mlmodel.write_text(text.replace("model_code_path: model.py", "python_model: python_model.pkl"))
    (directory / "python_model.pkl").write_bytes(b"made by another Python")
    (directory / "model.py").unlink()
