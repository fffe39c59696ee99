"""The model: points from a table (an artifact), and a limit that each call may set (a parameter)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas


class LoanRules(mlflow.pyfunc.PythonModel):
    """Adds up the points of an application and grants it from `min_points` on."""

    def load_context(self, context: Any) -> None:
        self.points = json.loads(Path(context.artifacts["points"]).read_text())

    def predict(
        self, context: Any, model_input: pandas.DataFrame, params: dict[str, Any] | None = None
    ) -> pandas.DataFrame:
        points = model_input["employment"].map(self.points["employment"]) + (
            model_input["income"] // self.points["income_per_point"]
        ).astype("int64")
        limit = (params or {}).get("min_points", 5)
        return pandas.DataFrame({"points": points, "granted": points >= limit})
