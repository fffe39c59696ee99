"""A pip package that no index has."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory, pip=["mlflow-dbimage-no-such-package==1.0"])
