"""A model as code: MLflow runs this file to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import mlflow.pyfunc
import pandas
from mlflow.models import set_model


class InEuros(mlflow.pyfunc.PythonModel):
    """Turns amounts into euros by the program `demo-rates` of its conda environment."""

    def predict(self, context: Any, model_input: pandas.DataFrame, params: Any = None) -> pandas.DataFrame:
        rates = {currency: self.rate(currency) for currency in model_input["currency"].unique()}
        return pandas.DataFrame({"euros": model_input["amount"] * model_input["currency"].map(rates)})

    def rate(self, currency: str) -> float:
        places = os.pathsep.join([f"{sys.prefix}/bin", os.environ.get("PATH", "")])
        program = shutil.which("demo-rates", path=places)
        if program is None:
            raise FileNotFoundError("the program demo-rates is missing: conda.yaml asks conda for it")
        return float(subprocess.run([program, currency], check=True, capture_output=True, text=True).stdout)


set_model(InEuros())
