"""Records beside the deployments of a registry: each is an artifact, which lists the layers that it speaks of.

The layers are mounted into the repository of the records, which thus holds all that it promises, and a registry
that collects garbage keeps them as long as the record.
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from mlflow_dbimage.destinations.deployment import CACHE_NAME
from mlflow_dbimage.destinations.registry import repository_path
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.artifact import Artifact, contents_of
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.parallel import in_parallel
from mlflow_dbimage.oci.registry import Registry, Repository

_TYPE = "application/vnd.dbimage.records.v1"
_CONTENT = "application/vnd.dbimage.records.v1+json+gzip"
_WORKERS = 4
#: Unpacked; records of the largest base images have some 4 MB.
_MOST = 64 << 20
_GZIP = 16 + zlib.MAX_WBITS


class RegistryShelf:
    """Records in a registry (`shared_cache.RecordShelf`).

    Args:
        registry: The registry.
        prefix: As of its deployments.
        template: As of its deployments: one without `{name}` has the records in the repository of all.
    """

    def __init__(self, registry: Registry, prefix: str, template: str) -> None:
        self._registry = registry
        self._prefix = prefix
        self._template = template
        self._repository = Repository(registry, repository_path(template, prefix, CACHE_NAME))

    @property
    def place(self) -> str:
        """The repository as people call it: `host/name`."""
        return self._repository.reference

    def has(self, name: str) -> bool:
        """Whether there is a record of that name."""
        return self._repository.exists(_tag(name))

    def read(self, name: str) -> bytes | None:
        """Return what a record holds; None where there is none.

        Raises:
            ValueError: What is there is no record.
            InputError: `base-invalid`, it is far too large.
            ServiceError: The registry failed.
            VerificationError: `digest-mismatch`.
        """
        try:
            _, manifest = self._repository.resolve(_tag(name))
        except InputError as error:
            if error.code != "base-not-found":
                raise
            return None
        contents = [each for each in contents_of(manifest) if each.media_type == _CONTENT]
        if len(contents) != 1:
            raise ValueError(f"`{self.place}:{_tag(name)}` is no record")
        return _unpacked(self._repository.blob(contents[0]))

    def write(self, name: str, data: bytes, layers: Sequence[Descriptor], deployment: str) -> bool:
        """Write a record and keep the layers that it speaks of; return whether the registry lets us.

        Args:
            name: Of the record.
            data: What it holds.
            layers: Blobs of the deployment's repository.
            deployment: Its name.
        """
        source = repository_path(self._template, self._prefix, deployment)

        def keep(layer: Descriptor) -> bool:
            return self._repository.mount(layer, source)

        if not all(in_parallel(keep, layers, _WORKERS, threading.Event())):
            return False
        packed = gzip.compress(data, mtime=0)
        artifact = Artifact(artifact_type=_TYPE, contents=((_CONTENT, packed),), listed=tuple(layers))
        self._repository.put_artifact(_tag(name), artifact)
        return True

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Ask which layers are not kept here."""
        return self._repository.missing(blobs)

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """Open a layer that is kept here."""
        return self._repository.open_blob(blob)


def _tag(name: str) -> str:
    return f"cache-{name}"


def _unpacked(data: bytes) -> bytes:
    reader = zlib.decompressobj(_GZIP)
    try:
        unpacked = reader.decompress(data, _MOST)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from None
    if not reader.eof:
        raise ValueError(f"it is cut off, or unpacks to more than {_MOST} bytes")
    return unpacked
