"""Two conda packages that both bring `share/demo-units/README`: the image has it once."""

from __future__ import annotations

import platform
from pathlib import Path

import mlflow.pyfunc
import pandas
from mlflow.models import infer_signature


def make(directory: Path) -> None:
    rows = pandas.DataFrame({"length": [1.0], "unit": ["km"]})
    conda_env = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={platform.python_version()}",
            "pip",
            "demo-units",
            "demo-units-imperial",
            {"pip": [f"mlflow-skinny=={mlflow.__version__}", f"pandas=={pandas.__version__}"]},
        ],
    }
    mlflow.pyfunc.save_model(
        directory,
        python_model=str(Path(__file__).with_name("model.py")),
        conda_env=conda_env,
        signature=infer_signature(rows, pandas.DataFrame({"metres": [1000.0]})),
    )
