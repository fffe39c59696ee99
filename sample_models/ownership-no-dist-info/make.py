"""A conda package without dist-info: pip does not see it, and would write over it (pandas needs six)."""

from __future__ import annotations

import platform
from pathlib import Path

import mlflow.pyfunc
import pandas
from mlflow.models import infer_signature


def make(directory: Path) -> None:
    rows = pandas.DataFrame({"value": [1, 2]})
    conda_env = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={platform.python_version()}",
            "pip",
            "six",
            {"pip": [f"mlflow-skinny=={mlflow.__version__}", f"pandas=={pandas.__version__}"]},
        ],
    }
    mlflow.pyfunc.save_model(
        directory,
        python_model=str(Path(__file__).with_name("model.py")),
        conda_env=conda_env,
        signature=infer_signature(rows, pandas.DataFrame({"text": ["no. 1", "no. 2"]})),
    )
