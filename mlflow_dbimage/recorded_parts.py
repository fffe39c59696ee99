"""What an image was made from, taken from where its record says: its base, its model and its lock files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlflow_dbimage import base_image, model_reference, model_spec, recorded_lock
from mlflow_dbimage.base_image import BaseImage, BaseSources
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import FORMAT, RECORD_LABEL, ImageRecord
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.image_location import ImageLocation, parse_base
from mlflow_dbimage.locking.environment_solver import CONDA_PLATFORMS
from mlflow_dbimage.model_layers import LOCK_PATH, MODEL_PATH
from mlflow_dbimage.model_reference import ModelReference, ModelStore
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Addition, Image, Layer, additions_of
from mlflow_dbimage.oci.image_files import read_files
from mlflow_dbimage.progress import Progress

Unpacker = Callable[[Layer, Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image, and what it says of itself."""

    image: Image
    record: ImageRecord
    own: tuple[Addition, ...]
    """Its layers above the base."""
    environment_budget: int
    """How many layers its environment was allowed, as far as that matters."""

    def layers(self, kind: str) -> tuple[Layer, ...]:
        """Return our layers of a kind, lowest first."""
        pairs = zip(self.record.layers, self.own, strict=False)  # a layer too many is found by the comparison
        return tuple(addition.layer for record, addition in pairs if record.kind == kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenModel:
    """The model's files, at hand."""

    spec: ModelSpec
    source: Literal["registry", "image"]
    """Whence they are."""
    notes: tuple[str, ...] = ()


def read_subject(name: str, image: Image) -> Subject:
    """Read what an image says of itself.

    Args:
        name: Of the image, for messages.
        image: The image.

    Raises:
        InputError: `cannot-reproduce`, it does not say enough.
    """
    record = ImageRecord.from_labels(image.labels)
    if record is None:
        raise _cannot(name, _why_no_record(image), "build the model again with this version")
    if record.env_layout == "cluster":
        why = "its packages lie in the cluster's own Python, and what builds and compiles for it is not recorded"
        raise _cannot(name, why, "build it again from its model, and compare the digests")
    if record.platform not in CONDA_PLATFORMS:
        raise _cannot(name, f"its record has the platform `{record.platform}`", None)
    try:
        own = additions_of(image, record.base_layers)
    except ValueError as error:
        raise _cannot(name, f"its layers are not those of its record: {error}", None) from error
    budget = record.environment_budget
    if budget is None:
        why = "its record does not say how its packages were shared out to layers"
        raise _cannot(name, why, "build the model again with this version")
    return Subject(image=image, record=record, own=own, environment_budget=budget)


def _cannot(name: str, why: str, hint: str | None) -> InputError:
    return InputError("cannot-reproduce", f"`{name}` cannot be built again: {why}", hint=hint)


def _why_no_record(image: Image) -> str:
    try:
        found = read_json(image.labels[RECORD_LABEL])["format"]
    except (KeyError, TypeError, ValueError):
        return "it has no record that mlflow-dbimage made it"
    if found == FORMAT:
        return "its record cannot be read"
    return f"its record has the format {found}, and this version writes images of the format {FORMAT}"


def fetch_base(
    record: ImageRecord,
    elsewhere: ImageLocation | None,
    sources: BaseSources,
    cache: BuildCache,
    progress: Progress,
) -> BaseImage:
    """Open the base by its digest where its place has digests, and hold it against the record anywhere.

    Args:
        record: Of the image.
        elsewhere: Where the base is; None for where the record says.
        sources: Opens it.
        cache: Remembers what it holds.
        progress: Where steps are reported.

    Raises:
        InputError: `cannot-reproduce`, another base is there; and as `base_image.fetch`.
    """
    location = elsewhere or parse_base(record.base_reference)
    if location.transport == "docker":
        location = replace(location, tag=None, digest=record.base_digest)
    try:
        base = base_image.fetch(location, Platform.parse(record.platform), sources, cache, progress)
    except InputError as error:
        if error.code != "base-not-found":
            raise
        hint = f"say where the base {record.base_digest} is (base_image=)"
        raise InputError(error.code, error.message, hint=hint) from error
    if str(base.image.digest) != record.base_digest:
        raise InputError(
            "cannot-reproduce",
            f"the base `{location}` is {base.image.digest}, and the image was made on {record.base_digest}",
            hint="say where that base is (base_image=)",
        )
    return base


def take_model(
    subject: Subject, store: ModelStore, unpack: Unpacker, work: Path, progress: Progress
) -> TakenModel:
    """Get the model's files: from the registry, else from the image.

    Args:
        subject: The image.
        store: The registry.
        unpack: Unpacks a layer over a folder, trusting nothing in it.
        work: A folder for the build.
        progress: Where steps are reported.

    Raises:
        InputError: `cannot-reproduce`, the image has no model; and as `model_spec.read`.
        VerificationError: As `unpack`.
    """
    record, directory = subject.record, work / "model"
    reference = _reference(record)
    why = "its record names no model of a registry"
    if reference.kind != "path":
        try:
            with progress.step(f"downloading {record.model_uri}"):
                store.download(reference, directory)
            return TakenModel(spec=model_spec.read(reference, directory), source="registry")
        except (InputError, ServiceError) as error:
            if error.code not in ("model-not-found", "store-failed"):
                raise
            why = error.message.splitlines()[0]
            shutil.rmtree(directory, ignore_errors=True)
    with progress.step("taking the model from the image"):
        _unpack_model(subject, unpack, work / "unpacked").rename(directory)
    spec = model_spec.read(reference, directory)
    return TakenModel(spec=spec, source="image", notes=(f"the model is the image's own: {why}",))


def _unpack_model(subject: Subject, unpack: Unpacker, root: Path) -> Path:
    """Return the folder of the image's own model; one behind a link is none: it may be this machine's."""
    root.mkdir()
    for layer in subject.layers("model"):
        unpack(layer, root)
    found = root / MODEL_PATH[1:]
    if not found.is_dir() or found.resolve() != root.resolve() / MODEL_PATH[1:]:
        raise _cannot(subject.record.model_name, f"its layers have no folder `{MODEL_PATH}`", None)
    return found


def _reference(record: ImageRecord) -> ModelReference:
    if record.model_uri.startswith(("models:", "runs:")):
        named = model_reference.parse(record.model_uri)
    else:
        named = ModelReference(uri=record.model_uri, kind="path", pinned_uri=record.model_uri)
    return replace(named, name=record.model_name, version=record.model_version)


def lock_files(subject: Subject) -> dict[str, bytes]:
    """Read the lock files of the image, by name; those that it lacks are left out.

    Raises:
        InputError: `base-invalid`, the layer that has them is damaged.
    """
    names = {f"{LOCK_PATH[1:]}/{name}": name for name in (recorded_lock.CONDA_FILE, recorded_lock.PIP_FILE)}
    upper = subject.layers("environment")[-1:]
    found = read_files(replace(subject.image, layers=upper), names)
    return {names[path]: file.data for path, file in found.items()}
