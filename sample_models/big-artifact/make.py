"""A model with an artifact of 300 MB that no compressor makes smaller: nothing may hold it in memory."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import mlflow.pyfunc
import pandas
from mlflow.models import infer_signature

MEGABYTE = 1_000_000


def make(directory: Path) -> None:
    offsets = pandas.DataFrame({"offset": [0, 1]})
    source = random.Random(300)
    with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
        table = Path(folder) / "table.bin"
        with table.open("wb") as stream:
            for _ in range(300):
                stream.write(source.randbytes(MEGABYTE))
        mlflow.pyfunc.save_model(
            directory,
            python_model=str(Path(__file__).with_name("model.py")),
            artifacts={"table": str(table)},
            signature=infer_signature(offsets, pandas.DataFrame({"value": [1, 2]})),
            pip_requirements=[f"mlflow-skinny=={mlflow.__version__}", f"pandas=={pandas.__version__}"],
        )
