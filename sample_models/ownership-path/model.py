"""A model as code: MLflow runs this file to get it."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas
from mlflow.models import set_model


class InMetres(mlflow.pyfunc.PythonModel):
    """Turns lengths into metres by the tables of two conda packages, which share a folder and a README."""

    def load_context(self, context: Any) -> None:
        # Where there is no such environment, DEMO_UNITS may name the folder.
        folder = Path(os.environ.get("DEMO_UNITS", f"{sys.prefix}/share/demo-units"))
        assert (folder / "README").read_text().endswith("metres.\n")
        rows = [row for name in ("length.csv", "imperial.csv") for row in csv.reader((folder / name).open())]
        self.metres = {unit: float(factor) for unit, factor in rows}

    def predict(self, context: Any, model_input: pandas.DataFrame, params: Any = None) -> pandas.DataFrame:
        return pandas.DataFrame({"metres": model_input["length"] * model_input["unit"].map(self.metres)})


set_model(InMetres())
