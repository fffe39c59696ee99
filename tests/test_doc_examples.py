"""The console examples of the documentation, typed as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from console_examples import Example, examples, play
from plain_model import MODERN, write_model

CLONE = Path(__file__).parent.parent
DOCUMENTS = (CLONE / "README.md", *sorted((CLONE / "docs").glob("*.md")))
EXAMPLES = {f"{path.stem}-{each.name}": each for path in DOCUMENTS for each in examples(path)}

_CONDA = """\
dependencies:
- python=3.11.11
- pip
- pip:
  - numpy==1.23.5
  - pandas==1.5.3
  - scikit-learn==1.4.2
"""
_REGISTER = """
import sys, mlflow
client = mlflow.MlflowClient()
client.create_registered_model("churn")
for _ in range(3):
    client.create_model_version("churn", source=sys.argv[1])
"""


@pytest.fixture(scope="module")
def churn(_empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an MLflow that has `churn`, of which version 3 was logged on 15.4 LTS."""
    folder = tmp_path_factory.mktemp("mlflow")
    model = write_model(folder / "model", MODERN + "databricks_runtime: '15.4'\n", conda_DOT_yaml=_CONDA)
    shutil.copy(_empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    command = [sys.executable, "-W", "ignore", "-c", _REGISTER, model.as_uri()]
    surroundings = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    subprocess.run(command, cwd=folder, env=surroundings, check=True, capture_output=True)
    return uri


def test_there_are_examples() -> None:
    assert {"README-base", "runtimes-gate", "runtimes-libraries"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_what_the_document_says(name: str, churn: str, tmp_path: Path) -> None:
    environment = {
        "PYTHONPATH": str(CLONE),
        "MLFLOW_TRACKING_URI": churn,
        "DBIMAGE_CACHE_DIR": str(tmp_path / "cache"),
    }
    folder = tmp_path / "here"
    folder.mkdir()
    parts = [each for each in EXAMPLES if each.partition("-")[0] == name.partition("-")[0]]
    # A document tells one story: what its earlier examples wrote is there.
    for each in parts[: parts.index(name)]:
        play(EXAMPLES[each], folder, environment)
    assert play(EXAMPLES[name], folder, environment) > 0


def test_an_example_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("<!-- example: x -->\n```console\n$ echo a; false\nb\n```\n")
    (example,) = examples(tmp_path / "x.md")
    assert example == Example(name="x", steps=(("echo a; false", ("b",)),))
    with pytest.raises(AssertionError, match="`echo a; false` says\na\n"):
        play(example, tmp_path, {})
