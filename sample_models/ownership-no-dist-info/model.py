"""A model as code: MLflow runs this file to get it."""

from __future__ import annotations

from typing import Any

import mlflow.pyfunc
import pandas
from mlflow.models import set_model


class ToText(mlflow.pyfunc.PythonModel):
    """Turns numbers into text with the module `six`."""

    def predict(self, context: Any, model_input: pandas.DataFrame, params: Any = None) -> pandas.DataFrame:
        import six

        return pandas.DataFrame({"text": [six.ensure_str(f"no. {value}") for value in model_input["value"]]})


set_model(ToText())
