"""An image built again from its own record and lock files, and held against itself.

Nothing is solved and no layer is taken from the cache: what the record names is fetched by digest or by hash,
installed, packed and written anew. The model is that of the registry where it is there, else the image's own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_dbimage import (
    base_environment,
    environment_layers,
    image_comparison,
    layout_choice,
    model_image,
    model_layers,
    recorded_lock,
    recorded_parts,
    static_verification,
)
from mlflow_dbimage.base_environment import BaseEnvironment
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.environment_layers import EnvironmentLayers, EnvironmentMakers, EnvironmentWish
from mlflow_dbimage.errors import MatchError, disk_errors
from mlflow_dbimage.image_comparison import Side
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.environment_solver import IndexAccess, Solver
from mlflow_dbimage.model_layers import AddedLayer, LayerStyle
from mlflow_dbimage.model_reference import ModelStore
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.packed_env import IMAGE_PREFIX
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.recorded_parts import Subject, TakenModel, Unpacker
from mlflow_dbimage.reproduction import Reproduction
from mlflow_dbimage.settings import Settings
from mlflow_dbimage.static_verification import VerificationTools


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceRequest:
    """An image that is to be built again."""

    name: str
    """Where the image is, as base images are named, or the name of a deployment."""
    base_image: ImageLocation | None
    """Where its base is, if that is not where the record says, or the record names a file."""
    channel_map: Mapping[str, str]
    """Mirrors of channels, by name."""
    access: IndexAccess

    @classmethod
    def from_settings(cls, name: str, settings: Settings) -> ReproduceRequest:
        """Read a request from what a door got."""
        return cls(
            name=name,
            base_image=settings.base_image,
            channel_map=settings.channel_map,
            access=IndexAccess(
                index_url=settings.index_url,
                extra_index_urls=settings.extra_index_url,
                local_version_indexes=settings.local_version_indexes,
                offline=settings.offline,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceTools:
    """All effects, joined by `backends`."""

    reading: VerificationTools
    """Opens the image and its base."""
    store: ModelStore
    solver: Solver
    makers: EnvironmentMakers
    unpack: Unpacker
    """Unpacks a layer over a folder, trusting nothing in it."""
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What an image is made from, at hand again."""

    base: BaseImage
    golden: BaseEnvironment | None
    """What the base has of the environment, of an overlay."""
    model: TakenModel
    locked: LockedEnv
    style: LayerStyle


def reproduce(request: ReproduceRequest, tools: ReproduceTools) -> Reproduction:
    """Build an image again and compare the two.

    Raises:
        InputError: `cannot-reproduce`; the image or its base does not exist or cannot be read.
        MatchError: `package-not-found`, a package of the lock is not to be had any more.
        ServiceError: A registry, channel, index or program failed.
        VerificationError: `digest-mismatch`, the image has other bytes than it says.
    """
    started = time.monotonic()
    subject = recorded_parts.read_subject(
        request.name, static_verification.open_image(request.name, tools.reading)
    )
    with disk_errors(), tools.makers.cache.work_directory() as work:
        parts = _parts(request, subject, tools, work)
        environment = _environment(subject, parts, tools, work)
        layers = _layers(parts, subject.record, environment)
        rebuilt = _record(subject.record, parts, environment, layers)
        image = model_image.assemble(parts.base, layers, rebuilt, tools.makers.cache.open_blob)
        same_compressor = rebuilt.compressor == subject.record.compressor
        with tools.progress.step("comparing the two images"):
            difference = image_comparison.compare(
                _side(subject.image, subject.record), _side(image, rebuilt), compressed=same_compressor
            )
    return Reproduction(
        name=request.name,
        digest=str(subject.image.digest),
        rebuilt=str(image.digest),
        model_from=parts.model.source,
        compared="bytes" if same_compressor else "contents",
        difference=difference,
        notes=(*parts.model.notes, *environment.notes, *_compressor_notes(subject.record, rebuilt)),
        seconds=time.monotonic() - started,
    )


def _parts(request: ReproduceRequest, subject: Subject, tools: ReproduceTools, work: Path) -> _Parts:
    record = subject.record
    reading, progress = tools.reading, tools.progress
    base = recorded_parts.fetch_base(record, request.base_image, reading.bases, reading.cache, progress)
    golden = base_environment.read(base.image) if record.env_layout == "overlay" else None
    model = recorded_parts.take_model(subject, tools.store, tools.unpack, work, progress)
    wish = recorded_lock.LockWish(
        files=recorded_parts.lock_files(subject),
        digest=record.lock_digest,
        platform=Platform.parse(record.platform),
        glibc=record.glibc,
        model=model.spec.directory,
        kept=None if golden is None else golden.locked.as_kept(),
        channel_map=request.channel_map,
        access=request.access,
    )
    style = LayerStyle(
        directory=tools.makers.cache.directory("blobs"),
        compression=Compression.of_identity(record.compressor),
        parents=base.parents,
    )
    return _Parts(
        base=base,
        golden=golden,
        model=model,
        locked=recorded_lock.read(wish, tools.solver, progress),
        style=style,
    )


def _environment(subject: Subject, parts: _Parts, tools: ReproduceTools, work: Path) -> EnvironmentLayers:
    record, golden = subject.record, parts.golden
    wish = EnvironmentWish(
        locked=parts.locked,
        prefix=IMAGE_PREFIX if golden is None else golden.prefix,
        spec=parts.model.spec,
        platform=Platform.parse(record.platform),
        bytecode=record.bytecode if golden is None else golden.bytecode,
        budget=subject.environment_budget,
        style=parts.style,
        base=golden,
    )
    try:
        return environment_layers.make(wish, tools.makers, work, tools.progress)
    except MatchError as error:
        if error.code != "package-not-found":
            raise
        listed = "\n".join(error.message.splitlines()[1:])
        raise MatchError(
            "package-not-found",
            f"the index lacks wheels that `{record.model_name}` was built with:\n{listed}",
            hint="name an index that keeps the same files; a wheel that was built from source is only in the cache"
            " of the machine that built it",
        ) from error


def _layers(parts: _Parts, record: ImageRecord, environment: EnvironmentLayers) -> tuple[AddedLayer, ...]:
    style = parts.style
    hidden = layout_choice.hidden_by_isolated(parts.base) if record.env_layout == "isolated" else ()
    return (
        *model_layers.write_whiteouts(hidden, style),
        *environment.layers,
        *model_layers.write_launcher(layout_choice.launcher_place(parts.base), style),
        model_layers.write_scoring(style, record.environment_prefix),
        *model_layers.write_model(parts.model.spec, style),
    )


def _record(
    old: ImageRecord, parts: _Parts, environment: EnvironmentLayers, layers: tuple[AddedLayer, ...]
) -> ImageRecord:
    """Write the record anew: names stay, and whatever was found or made again is as it was now."""
    locked, spec = parts.locked, parts.model.spec
    return replace(
        old,
        model_digest=str(spec.digest),
        mlflow_version=spec.mlflow_version,
        base_digest=str(parts.base.image.digest),
        base_layers=len(parts.base.image.layers),
        parents=model_layers.stated_parents(parts.style.parents, old.environment_prefix),
        python=locked.python,
        lock_digest=str(locked.digest),
        packages=len(locked.conda) + len(locked.wheels),
        bytecode=environment.bytecode,
        bytecode_modules=environment.bytecode_modules,
        compressor=parts.style.compression.identity,
        layers=model_image.layer_records(layers),
        environment_budget=model_layers.environment_budget(layers),
    )


def _side(image: Image, record: ImageRecord) -> Side:
    return Side(image=image, base_layers=record.base_layers, layers=record.layers)


def _compressor_notes(old: ImageRecord, rebuilt: ImageRecord) -> tuple[str, ...]:
    if old.compressor == rebuilt.compressor:
        return ()
    return (
        f"contents are compared, not compressed bytes: `{old.compressor}` compressed the image,"
        f" and this machine has `{rebuilt.compressor}`",
    )
