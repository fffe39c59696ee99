"""The import contracts are kept, and a fault would be noticed; what runs inside images stays simple."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_dbimage import locking

CLONE = Path(__file__).resolve().parent.parent
PACKAGES = ("mlflow_dbimage", "plugin_entrypoints")
INSIDE = sorted([*CLONE.glob("mlflow_dbimage/scoring/**/*.py"), CLONE / "plugin_entrypoints" / "batch.py"])

# What a model's environment has: pyfunc models need all but pyarrow, which Parquet needs.
OF_THE_MODEL = {"mlflow", "numpy", "pandas", "pyarrow", "yaml"}


def lint_imports(folder, cache):
    command = [str(Path(sys.executable).with_name("lint-imports")), "--cache-dir", str(cache)]
    surroundings = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path):
    for package in PACKAGES:
        shutil.copytree(CLONE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CLONE / ".importlinter", tmp_path)
    return tmp_path


def test_contracts_are_kept(tmp_path):
    done = lint_imports(CLONE, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_list_of_a_locks_parts_names_each_once():
    listed = [line.split()[0] for line in (locking.__doc__ or "").splitlines()[1:] if line]
    there = {path.stem for path in Path(locking.__file__).parent.glob("*.py")} - {"__init__"}
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("mlflow_dbimage/runtime_match.py", "import mlflow_dbimage.locked_env", "The line"),
        ("mlflow_dbimage/locked_env.py", "import subprocess", "Only backends"),
        ("mlflow_dbimage/pipeline.py", "import mlflow", "Only backends"),
        ("mlflow_dbimage/pipeline.py", "import mlflow_dbimage.service.events", "The line"),
        ("mlflow_dbimage/service/builds.py", "import mlflow_dbimage.service.rules", "The service's parts"),
        ("mlflow_dbimage/service/worker.py", "import subprocess", "Only backends"),
        ("mlflow_dbimage/oci/image.py", "import mlflow_dbimage.model_spec", "The line"),
        ("mlflow_dbimage/oci/image.py", "import conda_pack", "oci knows nothing"),
        ("mlflow_dbimage/scoring/__init__.py", "import mlflow_dbimage.errors", "What runs inside"),
        ("plugin_entrypoints/batch.py", "import mlflow_dbimage.pipeline", "What runs inside"),
        ("plugin_entrypoints/deployments.py", "import plugin_entrypoints.cli", "No door"),
        ("mlflow_dbimage/utils.py", "", "The line"),
        ("plugin_entrypoints/helpers.py", "", "No door"),
    ],
)
def test_a_planted_fault_is_noticed(copy, module, line, contract):
    path = copy / module
    path.write_text(f"{path.read_text() if path.exists() else ''}\n{line}\n")
    done = lint_imports(copy, copy / "cache")
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert done.returncode == 1
    assert any(text.startswith(contract) for text in broken), done.stdout + done.stderr


def imported(tree):
    """List the top-level packages that a module imports; relative imports are of our own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: str(path.relative_to(CLONE)))
def test_what_runs_inside_images_needs_python_3_7_and_the_model_s_environment(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    assert set(imported(tree)) <= set(sys.stdlib_module_names) | OF_THE_MODEL | {"mlflow_dbimage"}


def test_the_launcher_needs_python_3_8_and_nothing_else():
    tree = ast.parse((CLONE / "mlflow_dbimage/launcher/dbimage_launcher.py").read_text(), feature_version=(3, 8))
    assert set(imported(tree)) <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "path",
    sorted(path for package in PACKAGES for path in (CLONE / package).rglob("*.py")),
    ids=lambda path: str(path.relative_to(CLONE)),
)
def test_modules_and_functions_stay_small(path):
    source = path.read_text()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    assert source.count("\n") < 400
    assert {name: size for name, size in long.items() if size > 60} == {}
