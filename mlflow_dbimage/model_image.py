"""The image: the base, our layers, and what the config and labels say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.model_layers import SCORE_PATH, AddedLayer
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import CONSTANT_TIME, Addition, Image, Layer, RunConfig, additions_of, append

#: Safe for every engine, and for Databricks as far as is known (docs/measurements.md).
MAX_LAYERS = 60


def layer_records(layers: Sequence[AddedLayer]) -> tuple[LayerRecord, ...]:
    """Describe our layers for the image's record."""
    return tuple(
        LayerRecord(
            kind=layer.kind,
            digest=str(layer.descriptor.digest),
            diff_id=str(layer.diff_id),
            size=layer.descriptor.size,
            contents=layer.contents,
        )
        for layer in layers
    )


def addition(added: AddedLayer, open_blob: Callable[[Digest], BinaryIO]) -> Addition:
    """Give a layer that was made with its line of the history."""
    digest = added.descriptor.digest
    layer = Layer(descriptor=added.descriptor, diff_id=added.diff_id, open=lambda: open_blob(digest))
    contents = ", ".join(added.contents)
    return Addition(layer=layer, created_by=f"dbimage: {added.kind}: {added.title}", comment=contents[:2000])


def assemble(
    base: BaseImage,
    layers: Sequence[AddedLayer],
    record: ImageRecord,
    open_blob: Callable[[Digest], BinaryIO],
) -> Image:
    """Lay layers that were made on the base.

    Args:
        base: The base image.
        layers: Ours, lowest first.
        record: What the image is made from.
        open_blob: Opens the blob of one of our layers.

    Raises:
        InputError: As `lay_on`.
    """
    return lay_on(base, [addition(each, open_blob) for each in layers], record)


def lay_on(base: BaseImage, layers: Sequence[Addition], record: ImageRecord) -> Image:
    """Lay our layers on the base, set the entry point and write the record into labels and annotations.

    Raises:
        InputError: `base-invalid`, the base has too many layers or a broken config.
    """
    return _laid(base, layers, RunConfig(entrypoint=[SCORE_PATH], labels=record.to_labels()))


def assemble_base(
    system: BaseImage,
    layers: Sequence[AddedLayer],
    record: BaseRecord,
    environment: Mapping[str, str],
    open_blob: Callable[[Digest], BinaryIO],
) -> Image:
    """Lay the layers of a golden base on an operating system; what it runs stays the system's.

    Args:
        system: The operating system's image.
        layers: Ours, lowest first.
        record: What the base is made from.
        environment: Variables to set.
        open_blob: Opens the blob of one of our layers.

    Raises:
        InputError: `base-invalid`, the system's image has too many layers or a broken config.
    """
    labels = {
        **record.to_labels(),
        "org.opencontainers.image.title": record.title,
        "org.opencontainers.image.base.name": record.system_reference,
        "org.opencontainers.image.base.digest": record.system_digest,
    }
    run = RunConfig(environment=environment, labels=labels)
    return _laid(system, [addition(each, open_blob) for each in layers], run)


def _laid(base: BaseImage, layers: Sequence[Addition], run: RunConfig) -> Image:
    total = len(base.image.layers) + len(layers)
    if total > MAX_LAYERS:
        raise InputError(
            "base-invalid",
            f"the image would have {total} layers, of which the base `{base.reference}` brings"
            f" {len(base.image.layers)}: more than {MAX_LAYERS} are not safe on every engine",
            hint="allow fewer environment layers, or squash the base",
        )
    annotations = {**run.labels, "org.opencontainers.image.created": CONSTANT_TIME}
    try:
        return append(base.image, layers, run, annotations=annotations)
    except ValueError as error:
        raise InputError("base-invalid", f"the base image `{base.reference}` is broken: {error}") from error


def own_layers(image: Image, record: ImageRecord) -> tuple[Addition, ...] | None:
    """Take our layers from an image, lowest first; None where they are not those of its record."""
    try:
        additions = additions_of(image, record.base_layers)
    except ValueError:
        return None
    found = [str(each.layer.diff_id) for each in additions]
    return additions if found == [each.diff_id for each in record.layers] else None
