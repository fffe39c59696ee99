"""What was built from what: the record inside the image, and the receipt of one build.

An `ImageRecord` is a function of the inputs alone and travels in the image's labels, so that any machine reads
the same from the image itself. A `BuildReceipt` adds what only this build knows: where the image went, what
was sent, how long it took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json
from mlflow_dbimage.packed_env import is_prefix

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: Version of the record's form and of everything that decides bytes: layers, paths, normalisation.
FORMAT = 3

RECORD_LABEL = "dev.dbimage.record"

_PLAIN_LABELS = {
    "dev.dbimage.model": "model_uri",
    "dev.dbimage.model.digest": "model_digest",
    "dev.dbimage.lock.digest": "lock_digest",
    "dev.dbimage.runtime": "runtime",
    "org.opencontainers.image.base.digest": "base_digest",
    "org.opencontainers.image.base.name": "base_reference",
    "org.opencontainers.image.title": "model_name",
    "org.opencontainers.image.version": "model_version",
}
# As dataclasses of this module declare them.
_PLAIN_KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "str": (str,),
    "str | None": (str, type(None)),
}
_Record = TypeVar("_Record", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """One of our layers."""

    kind: str
    """As `AddedLayer.kind`."""
    digest: str
    diff_id: str
    size: int
    """In bytes, compressed."""
    contents: tuple[str, ...]
    """The distributions or parts in it."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerRecord:
        """Read the JSON form.

        Raises:
            TypeError: It is something else.
            ValueError: It is something else.
        """
        contents = tuple(data["contents"])
        if not all(isinstance(each, str) for each in contents):
            raise TypeError("`contents` are no texts")
        return as_declared(cls(**{**data, "contents": contents}))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """The inputs of an image and the layers that they gave; equal inputs, equal record."""

    model_uri: str
    model_name: str
    model_version: str | None
    model_digest: str
    mlflow_version: str | None
    runtime: str | None
    base_reference: str
    base_digest: str
    base_layers: int
    """How many of the image's layers, from the bottom, are the base's."""
    parents: Mapping[str, tuple[int, int, int]]
    """Mode, uid and gid that our layers state of directories which a base may have too, by path."""
    platform: str
    glibc: str
    """Of the base that the environment was solved for: it runs with this one or a newer one."""
    python: str
    lock_digest: str
    packages: int
    env_layout: str
    """`isolated`, `overlay` or `cluster`."""
    environment_prefix: str
    """Where the environment is in the image."""
    bytecode: str
    """`imported`, `all` or `none`."""
    bytecode_modules: str
    """Digest of the list of modules that have byte code."""
    compressor: str
    layers: tuple[LayerRecord, ...]
    environment_budget: int | None = None
    """The smallest budget of layers that shares its packages out as they are; None where that was not recorded."""
    format: int = FORMAT

    def to_labels(self) -> dict[str, str]:
        """Give the labels: the whole record in one, and what people look for in their own."""
        data = asdict(self)
        labels = {label: str(data[key]) for label, key in _PLAIN_LABELS.items() if data[key] is not None}
        labels["dev.dbimage.base.layers"] = str(self.base_layers)
        labels[RECORD_LABEL] = canonical_json(data).decode()
        return labels

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> ImageRecord | None:
        """Read the record of an image, or None where the image is not ours or of a newer format."""
        try:
            data = read_json(labels[RECORD_LABEL])
            if data["format"] != FORMAT:
                return None
            data["layers"] = tuple(LayerRecord.from_dict(layer) for layer in data["layers"])
            data["parents"] = {path: _owner(*owner) for path, owner in data["parents"].items()}
            if not is_prefix(data["environment_prefix"]):
                return None
            return as_declared(
                cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def as_declared(record: _Record) -> _Record:
    """Return a record that was read: images say what they like of themselves.

    Raises:
        TypeError: A text or number of it is none.
        ValueError: A number is negative.
    """
    for field in fields(record):
        kinds, value = _PLAIN_KINDS.get(str(field.type)), getattr(record, field.name)
        if kinds is not None and type(value) not in kinds:
            raise TypeError(f"`{field.name}` is no {field.type}")
        if isinstance(value, int) and value < 0:
            raise ValueError(f"`{field.name}` is negative")
    return record


def _owner(mode: int, uid: int, gid: int) -> tuple[int, int, int]:
    if not type(mode) is type(uid) is type(gid) is int:
        raise TypeError("an owner is no numbers")
    return mode, uid, gid


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReceipt:
    """What one build did."""

    name: str
    reference: str
    """Where the image is, by its digest where the destination has digests."""
    digest: str
    """Of the manifest."""
    tags: tuple[str, ...]
    record: ImageRecord
    image_size: int
    """Bytes of all layers, compressed, base included."""
    added_size: int
    """Bytes of our layers, compressed."""
    sent_size: int
    """Bytes that the destination lacked."""
    sent: str
    """What it did not lack, in a few words."""
    environment_reused: bool
    """Whether the environment's layers came from the cache."""
    verification: Mapping[str, Any]
    """The report of the verification, in its JSON form."""
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}
