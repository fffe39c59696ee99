"""Images and their layers, as immutable values, and the one way to grow them: `append`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from mlflow_dbimage.oci.documents import read_json

from .descriptor import (
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_LAYER_ZSTD,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_LAYER_TAR,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from .digest import Digest

#: 1980-01-01T00:00:01Z, the time of all that we make: zip files cannot say less.
CONSTANT_TIME = "1980-01-01T00:00:01Z"

_OCI_LAYER_TYPES = {
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_TAR: OCI_LAYER_TAR,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer: what it is called, and how to get its bytes when somebody really needs them."""

    descriptor: Descriptor
    """Of the blob as stored, usually compressed."""
    diff_id: Digest
    """Of the tar stream, uncompressed."""
    open: Callable[[], BinaryIO]
    """Opens the blob as stored; called only by a sink that lacks it. Raises `DbimageError`."""
    origin: str | None = None
    """`host[:port]/repository` that is known to hold the blob, so that its registry can mount it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image for one platform: the exact bytes of manifest and config, and the layers, base first."""

    manifest: bytes
    media_type: str
    """Of the manifest."""
    config: bytes
    layers: tuple[Layer, ...]
    index: bytes | None = field(default=None, repr=False, compare=False)
    """The index from which it was chosen; None where its name led straight to it."""

    @property
    def digest(self) -> Digest:
        """The digest of the manifest: the image's identity in registries and layouts."""
        return Digest.of(self.manifest)

    @property
    def descriptor(self) -> Descriptor:
        """How an index points to this image."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.manifest))

    @property
    def config_descriptor(self) -> Descriptor:
        """How the manifest points to the config; its digest is the image's ID in a Docker engine."""
        return Descriptor.from_dict(read_json(self.manifest)["config"])

    @property
    def platform(self) -> Platform:
        """The platform that the config states."""
        config = read_json(self.config)
        return Platform(config["os"], config["architecture"], config.get("variant"))

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the config."""
        return dict(self._run_config().get("Labels") or {})

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables of the config."""
        return _environment(self._run_config())

    @property
    def user(self) -> str:
        """Whom its processes run as; empty for root."""
        return str(self._run_config().get("User") or "")

    @property
    def entrypoint(self) -> tuple[str, ...]:
        """What is run, before its arguments."""
        return tuple(self._run_config().get("Entrypoint") or ())

    @property
    def steps(self) -> tuple[str, ...]:
        """What its builders say that they did, a text each."""
        lines = read_json(self.config).get("history") or ()
        return tuple(str(line.get("created_by") or "") for line in lines)

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations of the manifest."""
        return dict(read_json(self.manifest).get("annotations") or {})

    def _run_config(self) -> dict[str, Any]:
        return read_json(self.config).get("config") or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A layer to add, and the history line that it gets."""

    layer: Layer
    created_by: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What an image says of how it is run. Unset means: as the base has it."""

    entrypoint: Sequence[str] | None = None
    command: Sequence[str] | None = None
    user: str | None = None
    working_directory: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def canonical_json(data: object) -> bytes:
    """Write JSON with sorted keys and no spaces, so that equal values have equal bytes."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_image(
    manifest: bytes,
    media_type: str,
    config: bytes,
    opener: Callable[[Descriptor], Callable[[], BinaryIO]],
) -> Image:
    """Return the image that a manifest and a config describe.

    Args:
        manifest: Its exact bytes.
        media_type: Of the manifest.
        config: Its exact bytes, verified.
        opener: Gives what opens the blob of a layer.

    Raises:
        ValueError: The two do not fit, or a property is malformed.
        KeyError: A property is missing.
    """
    descriptors = [Descriptor.from_dict(each) for each in read_json(manifest)["layers"]]
    document = read_json(config)
    diff_ids = [Digest.parse(each) for each in document["rootfs"]["diff_ids"]]
    if len(descriptors) != len(diff_ids):
        raise ValueError(f"the manifest has {len(descriptors)} layers, the config {len(diff_ids)} diff IDs")
    _check_config(document)
    layers = tuple(
        Layer(descriptor=descriptor, diff_id=diff_id, open=opener(descriptor))
        for descriptor, diff_id in zip(descriptors, diff_ids, strict=True)
    )
    return Image(manifest=manifest, media_type=media_type, config=config, layers=layers)


def _check_config(document: Mapping[str, Any]) -> None:
    """Refuse a config whose properties, as far as we read them, are of other kinds than the specification says."""
    run = document.get("config") or {}
    expected = (
        *(("architecture", document.get("architecture"), str), ("os", document.get("os"), str)),
        *(("variant", document.get("variant") or "", str), ("history", document.get("history") or [], list)),
        *(("config", run, dict), ("Labels", run.get("Labels") or {}, dict), ("User", run.get("User") or "", str)),
        *(("Env", run.get("Env") or [], list), ("Entrypoint", run.get("Entrypoint") or [], list)),
    )
    wrong = [name for name, value, kind in expected if not isinstance(value, kind)]
    wrong += ["Env" for each in run.get("Env") or () if not isinstance(each, str)]
    wrong += ["history" for each in document.get("history") or () if not isinstance(each, dict)]
    if wrong:
        raise ValueError(f"its config has a malformed {' and '.join(dict.fromkeys(wrong))}")


def append(
    base: Image,
    additions: Sequence[Addition],
    run: RunConfig,
    *,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Return `base` with layers on top and another run configuration.

    The result is an OCI image whatever the base is: Docker's and OCI's layers are interchangeable (OCI image
    specification, media-types.md, "Compatibility Matrix"). Environment variables are joined by key, labels
    too; layers keep their order, base first.

    Raises:
        ValueError: The base's history does not fit its layers.
    """
    config = read_json(base.config)
    config["created"] = CONSTANT_TIME
    config["config"] = _merged_run_config(config.get("config") or {}, run)
    config["rootfs"] = {
        "type": "layers",
        "diff_ids": [str(layer.diff_id) for layer in base.layers]
        + [str(addition.layer.diff_id) for addition in additions],
    }
    config["history"] = _base_history(config, len(base.layers)) + [
        _history_line(addition) for addition in additions
    ]
    for key in ("container", "container_config", "docker_version", "id", "parent", "parent_id"):
        config.pop(key, None)  # Docker's leftovers of the machine that built the base
    config_bytes = canonical_json(config)
    layers = tuple(_as_oci(layer) for layer in base.layers) + tuple(item.layer for item in additions)
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Descriptor(
                media_type=OCI_CONFIG, digest=Digest.of(config_bytes), size=len(config_bytes)
            ).to_dict(),
            "layers": [layer.descriptor.to_dict() for layer in layers],
            **({"annotations": dict(annotations)} if annotations else {}),
        }
    )
    return Image(manifest=manifest, media_type=OCI_MANIFEST, config=config_bytes, layers=layers)


def additions_of(image: Image, base_layers: int) -> tuple[Addition, ...]:
    """Return what was appended to a base of so many layers: `append` of it to another base is a rebase.

    Raises:
        ValueError: The image has fewer layers, or its history does not describe them.
    """
    history = [line for line in read_json(image.config).get("history") or () if not line.get("empty_layer")]
    if len(image.layers) < base_layers or len(history) != len(image.layers):
        raise ValueError(f"{len(image.layers)} layers, {base_layers} of the base, {len(history)} lines of history")
    return tuple(
        Addition(layer=layer, created_by=line.get("created_by", ""), comment=line.get("comment", ""))
        for layer, line in zip(image.layers[base_layers:], history[base_layers:], strict=True)
    )


def _as_oci(layer: Layer) -> Layer:
    media_type = layer.descriptor.media_type
    return replace(
        layer,
        descriptor=replace(layer.descriptor, media_type=_OCI_LAYER_TYPES.get(media_type, media_type)),
    )


def _environment(run_config: Mapping[str, Any]) -> dict[str, str]:
    pairs = (item.partition("=") for item in run_config.get("Env") or ())
    return {key: value for key, _, value in pairs}


def _merged_run_config(base: dict[str, Any], run: RunConfig) -> dict[str, Any]:
    merged = {key: value for key, value in base.items() if key not in ("Hostname", "Domainname", "Image")}
    environment = {**_environment(base), **run.environment}
    merged["Env"] = [f"{key}={value}" for key, value in environment.items()]
    merged["Labels"] = {**(base.get("Labels") or {}), **run.labels}
    if run.entrypoint is not None:
        merged["Entrypoint"] = list(run.entrypoint)
        merged["Cmd"] = None  # it was meant for the base's entry point
    if run.command is not None:
        merged["Cmd"] = list(run.command)
    if run.user is not None:
        merged["User"] = run.user
    if run.working_directory is not None:
        merged["WorkingDir"] = run.working_directory
    return {key: value for key, value in merged.items() if value not in (None, "", [], {})}


def _base_history(config: Mapping[str, Any], layer_count: int) -> list[dict[str, Any]]:
    history = list(config.get("history") or ())
    described = sum(1 for line in history if not line.get("empty_layer"))
    if described == layer_count:
        return history
    if described == 0:
        return history + [{"created": CONSTANT_TIME, "created_by": "base"} for _ in range(layer_count)]
    raise ValueError(f"the base's history describes {described} layers, but it has {layer_count}")


def _history_line(addition: Addition) -> dict[str, Any]:
    line: dict[str, Any] = {"created": CONSTANT_TIME, "created_by": addition.created_by}
    if addition.comment:
        line["comment"] = addition.comment
    return line
