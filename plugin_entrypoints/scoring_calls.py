"""Scoring for the door `deployments`: with a deployed image, on what MLflow's callers give or on a file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_dbimage.errors import InputError, UsageError

if TYPE_CHECKING:
    from mlflow_dbimage.image_run import ImageRun, ScoreRequest
    from mlflow_dbimage.oci.image import Image
    from mlflow_dbimage.progress import Progress
    from mlflow_dbimage.settings import Settings

# What MLflow's scoring server takes. `mlflow deployments predict` reads its file as a table, whatever it
# holds: of such a body it makes a column for each key.
_BODIES = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})

# The column of a model that returns one value a row.
_PREDICTION = "prediction"

_WAYS = {
    "engine": "in a container of the Docker engine",
    "unpacked": "from the image's layers, unpacked on this machine, as no Docker engine answers here",
}


def predict(
    settings: Settings, name: str | None, inputs: Any, progress: Progress, tell: Callable[[str], None]
) -> list[Any]:
    """Score rows that a caller holds with a deployed image.

    Args:
        settings: Where the deployment is.
        name: Of the deployment.
        inputs: As for `body_of`.
        progress: Told of each step.
        tell: Given a line on how the image was run.

    Returns:
        One value a row: an object by column, or the value alone where the model returns one column without name.
    """
    from mlflow_dbimage.image_run import ScoreRequest

    image = _image(settings, name, progress)
    with tempfile.TemporaryDirectory(prefix="dbimage-predict-") as folder:
        request = ScoreRequest(input=Path(folder) / "input.json", output=Path(folder) / "output.json")
        request.input.write_text(json.dumps(body_of(inputs)), encoding="utf-8")
        tell(_scored(_run(settings, image, request, progress)))
        records = json.loads(request.output.read_text(encoding="utf-8"))
    return [record[_PREDICTION] if record.keys() == {_PREDICTION} else record for record in records]


def score_file(settings: Settings, name: str, progress: Progress, tell: Callable[[str], None]) -> str:
    """Score the file of a local run, or the model's own example, with a deployed image.

    Returns:
        The predictions as JSON lines, or nothing if they were written to `output`.

    Raises:
        InputError: `scoring-input`, no file is named and the model has no example.
    """
    from mlflow_dbimage.backends.image_runs import model_example
    from mlflow_dbimage.image_run import ScoreRequest

    image = _image(settings, name, progress)
    with tempfile.TemporaryDirectory(prefix="dbimage-run-") as folder:
        rows = settings.input or model_example(image, Path(folder))
        if rows is None:
            raise InputError(
                "scoring-input",
                f"the model of `{name}` has no input example, and no file to score is named",
                hint="name one with the key `input`",
            )
        output = settings.output or Path(folder) / "predictions.jsonl"
        done = _run(settings, image, ScoreRequest(input=rows, output=output), progress)
        tell(_scored(done) + ("" if settings.output is None else f"; predictions are in `{output}`"))
        return output.read_text(encoding="utf-8") if settings.output is None else ""


def _image(settings: Settings, name: str | None, progress: Progress) -> Image:
    from mlflow_dbimage.backends import open_destination

    if not name:
        raise UsageError("bad-name", "no deployment is named")
    return open_destination(settings, progress).image(name)


def _run(settings: Settings, image: Image, request: ScoreRequest, progress: Progress) -> ImageRun:
    from mlflow_dbimage import image_run
    from mlflow_dbimage.backends.image_runs import open_runner

    with progress.step("scoring") as step:
        runner = open_runner(settings)
        if runner.remark is not None:
            step.note(runner.remark)
        return image_run.run(image, request, runner)


def _scored(done: ImageRun) -> str:
    return f"scored {done.scored} of {done.rows} rows {_WAYS[done.how]}"


def body_of(inputs: Any) -> Any:
    """Return rows as JSON: a list of records, or a body of MLflow's scoring server.

    Args:
        inputs: A pandas DataFrame, a NumPy array, or what JSON can say.
    """
    if hasattr(inputs, "columns") and hasattr(inputs, "to_json"):
        columns = {str(name) for name in inputs.columns}
        if columns & _BODIES and columns <= _BODIES | {"params"}:
            return {name: _column(inputs[name]) for name in inputs.columns}
        return json.loads(inputs.to_json(orient="records", date_format="iso", double_precision=15))
    return inputs.tolist() if hasattr(inputs, "tolist") else inputs


def _column(column: Any) -> Any:
    """Take back what pandas made of a JSON value: a list has positions for its index, an object has names."""
    cells = [None if cell is None or cell != cell else cell for cell in column.tolist()]  # noqa: PLR0124  # NaN
    if all(isinstance(name, int) for name in column.index):
        return cells
    # Names of another object beside this one are gaps here.
    return {name: cell for name, cell in zip(column.index, cells, strict=True) if cell is not None}
