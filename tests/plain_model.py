"""Model directories written by hand, as several versions of MLflow write them, without MLflow."""

from __future__ import annotations

from pathlib import Path

MODERN = """\
artifact_path: model
flavors:
  python_function:
    cloudpickle_version: 3.1.2
    code: null
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.pyfunc.model
    python_model: python_model.pkl
    python_version: 3.11.7
    streamable: false
mlflow_version: 3.17.2
model_id: null
utc_time_created: '2026-06-01 12:00:00.000000'
"""

# As MLflow 1.13.1 writes it: `env` is a name, and there is neither a version of MLflow nor a model ID.
OLD = """\
flavors:
  python_function:
    env: conda.yaml
    loader_module: mlflow.sklearn
    model_path: model.pkl
    python_version: 3.7.10
  sklearn:
    pickled_model: model.pkl
    serialization_format: cloudpickle
    sklearn_version: 0.22.1
utc_time_created: '2021-01-20 09:30:00.123456'
"""

CONDA = """\
channels:
- conda-forge
dependencies:
- python=3.11.7
- pip<=26.3
- pip:
  - mlflow==3.17.2
name: mlflow-env
"""


def write_model(directory: Path, mlmodel: str = MODERN, **files: str | bytes | None) -> Path:
    """Write a model directory.

    Args:
        directory: Where; made with its parents.
        mlmodel: Content of MLmodel.
        files: More files by name, with `__` for `/` and `_DOT_` for `.`; None leaves out one that is there by
            itself (conda.yaml, python_model.pkl).
    """
    directory.mkdir(parents=True)
    contents: dict[str, str | bytes | None] = {"conda.yaml": CONDA, "python_model.pkl": b"pickled"}
    contents |= {name.replace("__", "/").replace("_DOT_", "."): data for name, data in files.items()}
    for name, data in {"MLmodel": mlmodel, **contents}.items():
        if data is not None:
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return directory
