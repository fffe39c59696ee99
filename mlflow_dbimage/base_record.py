"""What a golden base was built from: the record inside the base, which images on top of it inherit.

A golden base is an operating system with a runtime's packages as an environment. Its record is a function of its
inputs alone, and travels in the labels, as an `ImageRecord` does in those of a model's image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from mlflow_dbimage.build_receipt import FORMAT, LayerRecord, as_declared
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json
from mlflow_dbimage.packed_env import is_prefix

BASE_LABEL = "dev.dbimage.base"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRecord:
    """The inputs of a golden base and the layers that they gave; equal inputs, equal record."""

    title: str
    """Of what the packages are: a runtime's key, or the name in an environment file."""
    runtime: str | None
    """The runtime's key; None where the packages are those of a file."""
    system_reference: str
    """The image of the operating system, as people name it."""
    system_digest: str
    system_layers: int
    """How many of the base's layers, from the bottom, are the operating system's."""
    platform: str
    glibc: str
    python: str
    environment_prefix: str
    """Where the environment is in the image."""
    lock_digest: str
    packages: int
    drift: tuple[str, ...]
    """What was asked for and could not be had, and what is there in its place: a line each."""
    bytecode: str
    """`all` or `none`."""
    compressor: str
    layers: tuple[LayerRecord, ...]
    format: int = FORMAT

    def to_labels(self) -> dict[str, str]:
        """Give the labels."""
        return {BASE_LABEL: canonical_json(asdict(self)).decode()}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> BaseRecord | None:
        """Read the record of a base, or of the base below an image; None where there is none that we can read."""
        try:
            data = read_json(labels[BASE_LABEL])
            if data["format"] != FORMAT:
                return None
            data["drift"] = tuple(data["drift"])
            data["layers"] = tuple(LayerRecord.from_dict(layer) for layer in data["layers"])
            if not is_prefix(data["environment_prefix"]) or not all(
                isinstance(line, str) for line in data["drift"]
            ):
                return None
            return as_declared(cls(**{field.name: data[field.name] for field in fields(cls)}))
        except (KeyError, TypeError, ValueError):
            return None
