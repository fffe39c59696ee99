"""A model that needs a program which pip cannot bring: only conda's part of the environment has it."""

from __future__ import annotations

import platform
from pathlib import Path

import mlflow.pyfunc
import pandas
from mlflow.models import infer_signature


def make(directory: Path) -> None:
    amounts = pandas.DataFrame({"amount": [10.0, 4.0], "currency": ["USD", "GBP"]})
    conda_env = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={platform.python_version()}",
            "pip",
            "demo-rates=2.0",
            {"pip": [f"mlflow-skinny=={mlflow.__version__}", f"pandas=={pandas.__version__}"]},
        ],
    }
    mlflow.pyfunc.save_model(
        directory,
        python_model=str(Path(__file__).with_name("model.py")),
        conda_env=conda_env,
        signature=infer_signature(amounts, pandas.DataFrame({"euros": [5.0, 5.0]})),
    )
