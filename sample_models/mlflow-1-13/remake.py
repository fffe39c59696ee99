"""Makes `model/` anew, with MLflow 1.13.1 on Python 3.7: `python remake.py PYTHON37`.

Needs a Python 3.7, uv, and an index with upload times; hence the model is kept in the repository.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import uv

HERE = Path(__file__).resolve().parent

# What Databricks Runtime 7.6 ML had, and a limit that MLflow 1.13 did not yet know it needed.
REQUIREMENTS = (
    "mlflow==1.13.1",
    "scikit-learn==0.22.1",
    "numpy==1.18.1",
    "pandas==1.0.1",
    "cloudpickle==1.4.1",
    "protobuf<3.21",
)

SCRIPT = """
import sys

import mlflow.sklearn
import numpy
import pandas
from mlflow.models.signature import infer_signature
from sklearn.linear_model import LogisticRegression

rows = pandas.DataFrame({"age": [float(n) for n in range(20, 80)], "visits": [n % 7 for n in range(60)]})
target = numpy.where(rows["age"] + 3 * rows["visits"] > 60, "yes", "no")
model = LogisticRegression(C=1e3, max_iter=1000).fit(rows, target)
conda_env = {
    "name": "mlflow-env",
    "channels": ["defaults", "conda-forge"],
    "dependencies": [
        "python=3.7.10",
        "pip",
        # Unpinned, as MLflow wrote it then: resolved as of today it cannot even be imported.
        {"pip": ["mlflow", "scikit-learn==0.22.1", "numpy==1.18.1", "pandas==1.0.1", "cloudpickle==1.4.1"]},
    ],
}
signature = infer_signature(rows, model.predict(rows))
mlflow.sklearn.save_model(model, sys.argv[1], conda_env=conda_env, signature=signature)
"""


def remake(python: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        uv_program = uv.find_uv_bin()
        subprocess.run([uv_program, "venv", "--python", python, environment], check=True)
        interpreter = environment / "bin" / "python"
        install = [uv_program, "pip", "install", "--python", interpreter, "--exclude-newer", "2021-02-01"]
        subprocess.run([*install, *REQUIREMENTS], check=True)
        made = Path(folder) / "model"
        subprocess.run([interpreter, "-c", SCRIPT, made], check=True, cwd=folder)
        _date_back(made / "MLmodel")
        shutil.rmtree(HERE / "model", ignore_errors=True)
        shutil.copytree(made, HERE / "model")


def _date_back(mlmodel: Path) -> None:
    lines = mlmodel.read_text().splitlines()
    dated = [
        "utc_time_created: '2021-01-20 09:30:00.000000'" if line.startswith("utc_time_created:") else line
        for line in lines
    ]
    mlmodel.write_text("\n".join(dated) + "\n")


if __name__ == "__main__":
    remake(sys.argv[1])
