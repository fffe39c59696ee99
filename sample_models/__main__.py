"""`python -m sample_models list | make NAME DIR | predict NAME DIR | register NAME --tracking-uri URI`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sample_models


def make(name: str, directory: Path) -> None:
    """Write the model directory of a sample."""
    source = sample_models.folder(name) / "make.py"
    spec = importlib.util.spec_from_file_location(f"sample_{name.replace('-', '_')}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A sample's folder holds the modules that it packages.
    sys.path.insert(0, str(source.parent))
    spec.loader.exec_module(module)
    if directory.exists():
        directory.rmdir()
    module.make(directory)


def predict(name: str, directory: Path) -> str:
    """Score a sample's `input.csv` by plain MLflow in this Python, as CSV: what `expected.csv` holds.

    Columns that the signature does not name are left out; a model that gives no table gives one column
    `prediction`.
    """
    import mlflow.pyfunc
    import pandas

    model = mlflow.pyfunc.load_model(str(directory))
    kinds = {"double": "float64", "long": "int64", "string": "str"}
    columns = {column.name: kinds[column.type.name] for column in model.metadata.get_input_schema().inputs}
    source = sample_models.folder(name) / "input.csv"
    answer = model.predict(pandas.read_csv(source, usecols=list(columns), dtype=columns))
    if not isinstance(answer, pandas.DataFrame):
        answer = pandas.DataFrame({"prediction": answer})
    return str(answer.to_csv(index=False))


def register(name: str, tracking_uri: str, registered_name: str) -> str:
    """Make a sample and register it as a new version of a model.

    Returns:
        `models:/<name>/<version>`.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(tracking_uri)
    client = mlflow.MlflowClient()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        make(name, directory)
        source, run_id = _upload(directory, name, _experiment(client, tracking_uri))
    try:
        client.create_registered_model(registered_name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(registered_name, source, run_id)
    return f"models:/{registered_name}/{version.version}"


def _experiment(client: Any, tracking_uri: str) -> str | None:
    """Where files go: beside a SQLite file (by default MLflow takes the working directory), else as it is."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    found = client.get_experiment_by_name("samples")
    if found is not None:
        return str(found.experiment_id)
    place = Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent / "artifacts"
    return str(client.create_experiment("samples", artifact_location=place.as_uri()))


def _upload(directory: Path, name: str, experiment: str | None) -> tuple[str, str]:
    """Log a model directory as it is: what is wrong with it is not MLflow's to find."""
    import mlflow

    with mlflow.start_run(run_name=name, experiment_id=experiment) as run:
        client = mlflow.MlflowClient()
        if not hasattr(client, "create_logged_model"):  # MLflow 2
            mlflow.log_artifacts(str(directory), "model")
            return f"{run.info.artifact_uri}/model", run.info.run_id
        logged = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run.info.run_id)
        client.log_model_artifacts(logged.model_id, str(directory))
        client.finalize_logged_model(logged.model_id, "READY")
        return f"models:/{logged.model_id}", run.info.run_id


def main(arguments: Sequence[str] | None = None) -> int:
    """List, make or register samples."""
    parser = argparse.ArgumentParser(prog="python -m sample_models", description="Sample models")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name all samples")
    one = commands.add_parser("make", help="write a model directory")
    one.add_argument("name", choices=sample_models.names(), metavar="NAME")
    one.add_argument("directory", type=Path)
    third = commands.add_parser("predict", help="score input.csv by plain MLflow, here")
    third.add_argument("name", choices=sample_models.names(good=True), metavar="NAME")
    third.add_argument("directory", type=Path, help="where the model was made")
    other = commands.add_parser("register", help="make a model and register it")
    other.add_argument("name", choices=sample_models.names(), metavar="NAME")
    other.add_argument("--tracking-uri", required=True)
    other.add_argument("--as", dest="registered_name", help="the registered name; default: the sample's")
    options = parser.parse_args(arguments)
    # MLflow's advice is for the authors of models; these are as they should be.
    warnings.simplefilter("ignore")
    if options.command == "list":
        print("\n".join(sample_models.names()))
    elif options.command == "make":
        make(options.name, options.directory)
        print(options.directory)
    elif options.command == "predict":
        print(predict(options.name, options.directory), end="")
    else:
        print(register(options.name, options.tracking_uri, options.registered_name or options.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
