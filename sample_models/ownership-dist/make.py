"""A distribution that conda and pip both bring, in one version: it must have one owner."""

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
            "cloudpickle=3.1.2",
            {
                "pip": [
                    f"mlflow-skinny=={mlflow.__version__}",
                    f"pandas=={pandas.__version__}",
                    "cloudpickle==3.1.2",
                ]
            },
        ],
    }
    mlflow.pyfunc.save_model(
        directory,
        python_model=str(Path(__file__).with_name("model.py")),
        conda_env=conda_env,
        signature=infer_signature(rows, pandas.DataFrame({"doubled": [2, 4]})),
    )
