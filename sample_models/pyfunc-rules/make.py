"""A model of plain Python: a class in `code/`, a table as artifact, and a parameter with a default."""

from __future__ import annotations

from pathlib import Path

import cloudpickle
import mlflow.pyfunc
import pandas
from loan_rules.model import LoanRules
from mlflow.models import infer_signature

HERE = Path(__file__).resolve().parent


def make(directory: Path) -> None:
    applications = pandas.DataFrame({"income": [1000.0, 5200.0], "employment": ["none", "permanent"]})
    answers = pandas.DataFrame({"points": [1, 8], "granted": [False, True]})
    mlflow.pyfunc.save_model(
        directory,
        python_model=LoanRules(),
        code_paths=[str(HERE / "loan_rules")],
        artifacts={"points": str(HERE / "points.json")},
        signature=infer_signature(applications, answers, params={"min_points": 5}),
        input_example=(applications, {"min_points": 5}),
        pip_requirements=[
            f"mlflow-skinny=={mlflow.__version__}",
            f"cloudpickle=={cloudpickle.__version__}",
            f"pandas=={pandas.__version__}",
        ],
    )
