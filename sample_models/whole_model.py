"""A small model that is as it should be, written without MLflow: bad samples break one thing of it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

_CODE = """\
import mlflow.pyfunc
from mlflow.models import set_model


class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2


set_model(Doubled())
"""

_MLMODEL = """\
flavors:
  python_function:
    cloudpickle_version: {cloudpickle}
    code: null
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.pyfunc.loaders.code_model
    model_code_path: model.py
    python_version: {python}
    streamable: false
mlflow_version: {mlflow}
model_uuid: 00000000000040008000000000000000
signature:
  inputs: '[{{"type": "double", "name": "value", "required": true}}]'
  outputs: '[{{"type": "double", "name": "value", "required": true}}]'
  params: null
utc_time_created: '{created}'
"""


def write(
    directory: Path, *, python: str | None = None, conda: Sequence[str] = (), pip: Sequence[str] = ()
) -> None:
    """Write the model directory.

    Args:
        directory: Where it is to be; must not exist.
        python: The version that conda.yaml asks for; default: the running one.
        conda: More lines of conda.yaml's dependencies.
        pip: More lines of its pip section, and of requirements.txt.
    """
    directory.mkdir(parents=True)
    python = python or platform.python_version()
    requirements = [f"mlflow-skinny=={version('mlflow-skinny')}", f"pandas=={version('pandas')}", *pip]
    known = {name: version(name) for name in ("cloudpickle", "mlflow")}
    # Now: as of any earlier day, the versions that are installed here might not exist yet.
    known["created"] = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    files = {
        "MLmodel": _MLMODEL.format(python=platform.python_version(), **known),
        "model.py": _CODE,
        "conda.yaml": "".join(
            [
                "channels:\n- conda-forge\ndependencies:\n",
                *(f"- {line}\n" for line in (f"python={python}", "pip", *conda)),
                "- pip:\n",
                *(f"  - {line}\n" for line in requirements),
                "name: mlflow-env\n",
            ]
        ),
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
        "python_env.yaml": f"python: {python}\ndependencies:\n- -r requirements.txt\n",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
