"""The model: its files and digest, its environment, and what MLmodel says of it.

Reads what MLflow 1.13 to 3.17 write. MLmodel is read as it is, not through MLflow: its own reader puts the
runtime of the running machine in the place of the one that logged the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Protocol

from mlflow_dbimage import pip_lines, safe_yaml
from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.model_environment import read_environment
from mlflow_dbimage.model_files import ModelFile, digest_of, read_files
from mlflow_dbimage.model_reference import ModelReference
from mlflow_dbimage.oci.digest import Digest

__all__ = ["ModelFile", "ModelSpec", "PickleFacts", "check_pickle", "read"]

_MLMODEL = "MLmodel"
_PYFUNC = "python_function"
# What flavors call the files that they load, relative to the model.
_PATH_FIELDS = ("data", "model_path", "python_model", "code", "pickled_model", "model_data", "model_file")
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".cpkl"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PickleFacts:
    """What a model's pickles need in order to be loaded."""

    files: tuple[str, ...]
    """That are pickles, by their names; none where the model is not pickled."""
    python: str | None
    """That made them, where MLmodel says it."""
    cloudpickle: str | None
    """That made them, where a pyfunc model says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One version of a model, downloaded."""

    name: str
    """Of the registered model; else of the logged model, the run's path or the directory."""
    version: str | None
    directory: Path
    digest: Digest
    """Of its files: paths, sizes and contents."""
    files: tuple[ModelFile, ...]
    environment: EnvironmentSpec
    flavors: tuple[str, ...]
    loader_module: str
    """That MLflow's python_function loads it with."""
    mlflow_version: str | None
    """That logged it; MLflow 1.x did not say."""
    databricks_runtime: str | None
    """That it was logged on, as MLmodel has it: `15.4`, `client.4`."""
    signature: Mapping[str, Any] | None
    """As MLmodel has it: `inputs`, `outputs` and `params`, each JSON text or None."""
    example: str | None
    """File of its input example."""
    serving_example: str | None
    """File of the same as the body of a scoring request."""
    pickle: PickleFacts
    notes: tuple[str, ...] = ()
    """What people should know of it."""

    @property
    def python(self) -> str:
        """The Python that it asks for."""
        return self.environment.python

    @property
    def logged_at(self) -> datetime | None:
        """When it was logged, in UTC."""
        return self.environment.logged_at


class LockedVersion(Protocol):
    """A distribution of a locked environment."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> str:
        """Its version."""


class LockedVersions(Protocol):
    """What a pickle depends on in a locked environment."""

    @property
    def python(self) -> str:
        """The version of its Python."""

    @property
    def conda(self) -> Sequence[LockedVersion]:
        """Its conda packages."""

    @property
    def wheels(self) -> Sequence[LockedVersion]:
        """Its wheels."""


def read(reference: ModelReference, directory: Path) -> ModelSpec:
    """Read a model that was downloaded.

    Raises:
        InputError: `model-invalid`, `model-unsafe`, `model-environment-missing`, `model-environment-invalid`.
    """
    files = read_files(directory)
    data, pyfunc = _mlmodel(directory)
    _check_paths(directory, data["flavors"])
    logged_at, notes = _logged_at(data)
    python_version = _text(pyfunc, "python_version")
    environment = read_environment(directory, pyfunc.get("env"), python_version, logged_at)
    example = data.get("saved_input_example_info")
    example = example if isinstance(example, dict) else {}
    return ModelSpec(
        name=_name(reference, directory),
        version=reference.version,
        directory=directory,
        digest=digest_of(files),
        files=files,
        environment=environment,
        flavors=tuple(data["flavors"]),
        loader_module=_text(pyfunc, "loader_module") or "",
        mlflow_version=_text(data, "mlflow_version"),
        databricks_runtime=_text(data, "databricks_runtime"),
        signature=data.get("signature") if isinstance(data.get("signature"), dict) else None,
        example=_existing(files, _text(example, "artifact_path")),
        serving_example=_existing(files, _text(example, "serving_input_path")),
        pickle=_pickle_facts(files, pyfunc, python_version),
        notes=(*notes, *_password_notes(environment)),
    )


def check_pickle(
    spec: ModelSpec, locked: LockedVersions, in_base: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, ...]:
    """Hold the locked environment against what made the model's pickles; return what may matter.

    A pickle holds byte code and the names of cloudpickle's own functions: another minor of Python, or another
    major version of cloudpickle, cannot load it, and says so only when the model is loaded.

    Args:
        spec: The model.
        locked: What its environment has.
        in_base: By name, the versions that the environment finds in the base beside what is locked.

    Raises:
        InputError: `model-pickle-mismatch`.
    """
    facts = spec.pickle
    problems: list[str] = []
    notes: list[str] = []
    if facts.python is not None and _minor(facts.python) != _minor(locked.python):
        difference = f"Python {facts.python} made the model, and its environment has Python {locked.python}"
        (problems if facts.files else notes).append(difference)
    if facts.files and facts.cloudpickle is not None:
        found = _version_of("cloudpickle", locked) or in_base.get("cloudpickle")
        if found is None:
            problems.append(f"cloudpickle {facts.cloudpickle} made the model, and its environment has none")
        elif _major(found) != _major(facts.cloudpickle):
            problems.append(f"cloudpickle {facts.cloudpickle} made the model, and its environment has {found}")
        elif found != facts.cloudpickle:
            notes.append(f"cloudpickle {facts.cloudpickle} made the model, and its environment has {found}")
    if problems:
        pickles = ", ".join(f"`{file}`" for file in facts.files)
        raise InputError(
            "model-pickle-mismatch",
            f"the environment cannot load {pickles}: {'; '.join(problems)}",
            hint="log the model again from the environment that it asks for",
        )
    return tuple(notes)


def _mlmodel(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return MLmodel and its python_function flavor."""
    path = directory / _MLMODEL
    if not path.is_file():
        inner = sorted(each.parent.name for each in directory.glob(f"*/{_MLMODEL}"))
        hint = f"there are models below it: {', '.join(f'`{each}`' for each in inner)}" if inner else None
        raise InputError("model-invalid", f"there is no model: `{_MLMODEL}` is missing", hint=hint)
    try:
        data = safe_yaml.load(path.read_bytes())
    except ValueError as error:
        raise InputError("model-invalid", f"the model's `{_MLMODEL}` cannot be read: {error}") from None
    flavors = data.get("flavors") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(flavors, dict) or not flavors:
        raise InputError("model-invalid", f"the model's `{_MLMODEL}` names no flavors")
    pyfunc = flavors.get(_PYFUNC)
    if not isinstance(pyfunc, dict):
        listed = ", ".join(f"`{flavor}`" for flavor in flavors)
        raise InputError(
            "model-invalid",
            f"the model has no flavor `{_PYFUNC}`, by which images load models, only {listed}",
            hint="log it with a flavor that has a pyfunc form",
        )
    return data, pyfunc


def _check_paths(directory: Path, flavors: Mapping[str, Any]) -> None:
    """Refuse an MLmodel that would load files from outside the model."""
    root = directory.resolve()
    found = (
        f"`{place}` is `{path}`"
        for place, path in _paths(flavors)
        if not (root / path).resolve().is_relative_to(root)
    )
    outside = ", ".join(found)
    if outside:
        raise InputError(
            "model-unsafe",
            f"the model's `{_MLMODEL}` names files outside the model: {outside}",
            hint="log the model again, with these files as its artifacts",
        )


def _paths(flavors: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for flavor, fields in flavors.items():
        if not isinstance(fields, dict):
            continue
        for field in _PATH_FIELDS:
            if isinstance(fields.get(field), str):
                yield f"{flavor}.{field}", fields[field]
        artifacts = fields.get("artifacts")
        for name, artifact in artifacts.items() if isinstance(artifacts, dict) else ():
            if isinstance(artifact, dict) and isinstance(artifact.get("path"), str):
                yield f"{flavor}.artifacts.{name}", artifact["path"]


def _logged_at(data: Mapping[str, Any]) -> tuple[datetime | None, tuple[str, ...]]:
    text = _text(data, "utc_time_created")
    if text is None:
        return None, (
            "the model does not say when it was logged: what it leaves unpinned is resolved as of today",
        )
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc), ()
    except ValueError:
        raise InputError(
            "model-invalid", f"the model's `{_MLMODEL}` has no time as `utc_time_created`: `{text}`"
        ) from None


def _pickle_facts(
    files: tuple[ModelFile, ...], pyfunc: Mapping[str, Any], python_version: str | None
) -> PickleFacts:
    named = _text(pyfunc, "python_model")
    pickles = [file.path for file in files if file.path == named or PurePosixPath(file.path).suffix in _PICKLES]
    return PickleFacts(
        files=tuple(pickles),
        python=python_version,
        cloudpickle=_text(pyfunc, "cloudpickle_version") if named else None,
    )


def _password_notes(environment: EnvironmentSpec) -> tuple[str, ...]:
    return tuple(
        f"{origin} holds the password of a URL, and the model goes into the image as it is"
        for origin in pip_lines.passwords(environment.pip)
    )


def _name(reference: ModelReference, directory: Path) -> str:
    if reference.name:
        return reference.name
    path = reference.path or reference.model_id or reference.pinned_uri
    return PurePosixPath(path).name or directory.name


def _existing(files: tuple[ModelFile, ...], path: str | None) -> str | None:
    return path if path is not None and any(file.path == path for file in files) else None


def _text(data: Mapping[str, Any], field: str) -> str | None:
    value = data.get(field)
    return value.strip() or None if isinstance(value, str) else None


def _version_of(name: str, locked: LockedVersions) -> str | None:
    return next((each.version for each in (*locked.wheels, *locked.conda) if each.name == name), None)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _major(version: str) -> str:
    return version.split(".", maxsplit=1)[0]
