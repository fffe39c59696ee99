"""A model with a wheel of its own: requirements.txt names `code/vat_rules-1.2-py3-none-any.whl`."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import mlflow.pyfunc
import pandas
from mlflow.models import infer_signature

HERE = Path(__file__).resolve().parent
WHEEL = "vat_rules-1.2-py3-none-any.whl"


def build_wheel(folder: Path) -> Path:
    """Write the wheel; what a build tool would do, with constant times."""
    info = "vat_rules-1.2.dist-info"
    members = {
        "vat_rules.py": (HERE / "vat_rules.py").read_text(),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: vat-rules\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: sample\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return folder / WHEEL


def make(directory: Path) -> None:
    orders = pandas.DataFrame({"net": [100.0], "country": ["DE"]})
    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(
            directory,
            python_model=str(HERE / "model.py"),
            code_paths=[str(build_wheel(Path(folder)))],
            signature=infer_signature(orders, pandas.DataFrame({"gross": [119.0]})),
            # The path is relative to the model directory, as MLflow's documentation shows.
            pip_requirements=[
                f"mlflow-skinny=={mlflow.__version__}",
                f"pandas=={pandas.__version__}",
                f"code/{WHEEL}",
            ],
        )
