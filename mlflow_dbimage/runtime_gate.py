"""What `dbimage runtimes match` asks: a model or an environment file, held against a runtime; nothing is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage import model_reference, model_spec
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.environment_files import is_environment_file, read_file
from mlflow_dbimage.errors import disk_errors
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.runtime_fit import RuntimeFit, Subject
from mlflow_dbimage.runtime_match import choose, match
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where models and runtimes are."""

    store: Callable[[], model_reference.ModelStore]
    """Opened for a model alone: an environment file needs no MLflow."""
    catalogue: Catalogue
    cache: BuildCache
    progress: Progress


def examine(named: str, wanted: str | None, settings: Settings, sources: Sources) -> RuntimeFit:
    """Hold what is named against a runtime: the one that is wanted, else the one that fits best.

    Args:
        named: A model URI, a model directory, or an environment file.
        wanted: Key of a runtime.
        settings: The site's bases, by which a model's runtime is chosen as a build would.
        sources: Where to read from.

    Raises:
        InputError: `environment-file-invalid`, and what reading a model raises.
        MatchError: `unknown-runtime`, `runtime-mismatch`.
    """
    path = Path(named)
    if path.is_file() or is_environment_file(path):
        return choose(read_file(path), wanted, sources.catalogue)
    with disk_errors(), sources.cache.work_directory() as work:
        spec = _model(named, work / "model", sources)
        if wanted is None:
            chosen = match(spec, None, settings.base_image, sources.catalogue, settings.bases).fit
            if chosen is not None:
                return chosen
        return choose(Subject.of_model(spec), wanted, sources.catalogue)


def _model(named: str, directory: Path, sources: Sources) -> ModelSpec:
    store = sources.store()
    reference = model_reference.pin(model_reference.parse(named), store)
    if reference.directory is not None:
        return model_spec.read(reference, reference.directory)
    with sources.progress.step(f"downloading {reference.pinned_uri}"):
        store.download(reference, directory)
    return model_spec.read(reference, directory)
