"""A model as code: MLflow runs this file to get it."""

from __future__ import annotations

from typing import Any

import mlflow.pyfunc
import pandas
from mlflow.models import set_model


class RoundTrip(mlflow.pyfunc.PythonModel):
    """Sends a function through cloudpickle and calls what comes back."""

    def predict(self, context: Any, model_input: pandas.DataFrame, params: Any = None) -> pandas.DataFrame:
        import pickle

        import cloudpickle

        factor = 2
        doubled = pickle.loads(cloudpickle.dumps(lambda value: value * factor))
        return pandas.DataFrame({"doubled": model_input["value"].map(doubled)})


set_model(RoundTrip())
