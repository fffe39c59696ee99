"""A model as code: MLflow runs this file to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas
from mlflow.models import set_model


class Lookup(mlflow.pyfunc.PythonModel):
    """Looks up bytes in a large table, without reading the table."""

    def load_context(self, context: Any) -> None:
        self.table = Path(context.artifacts["table"])

    def predict(self, context: Any, model_input: pandas.DataFrame, params: Any = None) -> pandas.DataFrame:
        with self.table.open("rb") as stream:
            return pandas.DataFrame({"value": [self.at(stream, offset) for offset in model_input["offset"]]})

    def at(self, stream: Any, offset: int) -> int:
        stream.seek(offset)
        return stream.read(1)[0]


set_model(Lookup())
