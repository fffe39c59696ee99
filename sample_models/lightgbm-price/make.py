"""A LightGBM regressor whose wheel needs a system library: conda.yaml asks conda for `libgomp`."""

from __future__ import annotations

import platform
from pathlib import Path

import lightgbm
import mlflow.lightgbm
import numpy
import pandas
import scipy
from mlflow.models import infer_signature


def make(directory: Path) -> None:
    flats = pandas.DataFrame(
        {"rooms": [1 + n % 5 for n in range(500)], "area": [20.0 + 13 * n % 120 for n in range(500)]}
    )
    price = 1000.0 * flats["area"] + 20_000.0 * flats["rooms"]
    parameters = {
        "objective": "regression",
        "num_leaves": 7,
        "verbosity": -1,
        "deterministic": True,
        "num_threads": 1,
    }
    booster = lightgbm.train(parameters, lightgbm.Dataset(flats, price), num_boost_round=40)
    conda_env = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={platform.python_version()}",
            "pip",
            "libgomp",
            {
                "pip": [
                    f"mlflow-skinny=={mlflow.__version__}",
                    f"lightgbm=={lightgbm.__version__}",
                    f"numpy=={numpy.__version__}",
                    f"pandas=={pandas.__version__}",
                    f"scipy=={scipy.__version__}",
                ]
            },
        ],
    }
    mlflow.lightgbm.save_model(
        booster,
        directory,
        conda_env=conda_env,
        signature=infer_signature(flats, booster.predict(flats)),
        input_example=flats.head(2),
    )
