"""How an image is run on this machine, and the rows that its model brought with it."""

from __future__ import annotations

from pathlib import Path

from mlflow_dbimage import safe_yaml
from mlflow_dbimage.backends.docker_engine import DockerEngine, EngineRunner
from mlflow_dbimage.backends.layer_unpacking import place_in, unpack_layer
from mlflow_dbimage.backends.sandbox_settings import sandbox_of
from mlflow_dbimage.backends.unpacked_env import UnpackedRunner
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.image_run import Runner
from mlflow_dbimage.model_layers import MODEL_PATH
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.settings import Settings


def open_runner(settings: Settings) -> Runner:
    """Return what runs images: the Docker engine, if one answers that sees this machine's files."""
    engine = DockerEngine.find()
    if engine is not None and engine.is_local:
        return EngineRunner(engine)
    return UnpackedRunner(BuildCache.open(settings.cache_dir).directory("images"), lambda: sandbox_of(settings))


def model_example(image: Image, folder: Path) -> Path | None:
    """Take the model's input example out of an image; None where it has none.

    Args:
        image: One of ours.
        folder: Empty; the layers of the model are unpacked there.

    Raises:
        VerificationError: A layer is not what it should be.
    """
    record = ImageRecord.from_labels(image.labels)
    wanted = {layer.digest for layer in record.layers if layer.kind == "model"} if record else set()
    for layer in image.layers:
        if str(layer.descriptor.digest) in wanted:
            unpack_layer(layer, folder)
    model = place_in(folder, MODEL_PATH)
    return None if model is None else example_file(model)


def example_file(model: Path) -> Path | None:
    """Find the input example in the directory of a model."""
    written = _file(model, "MLmodel")
    described = None if written is None else safe_yaml.load(written.read_bytes())
    example = described.get("saved_input_example_info") if isinstance(described, dict) else None
    if not isinstance(example, dict):
        return None
    # What MLflow wrote for its scoring server keeps types that the plain example does not.
    named = (example.get("serving_input_path"), example.get("artifact_path"))
    return next((path for name in named if (path := _file(model, name)) is not None), None)


def _file(model: Path, name: object) -> Path | None:
    path = None if not isinstance(name, str) or name.startswith("/") else place_in(model, name)
    return path if path is not None and path.is_file() else None
