"""Layers that were written before, found by what they hold: what is equal is not compressed again.

An environment of which one distribution moved has a new lock, and most layers of the old one. A layer whose paths,
modes and sizes are those of one that was written before is framed and hashed, which costs a third of compressing
it; if its diff ID is the same, too, the blob that is kept is its own. So no key can forget what goes into a layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.layer import diff_id_of
from mlflow_dbimage.oci.tar import TarEntry

_KIND = "layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLayer:
    """A layer whose blob the cache has."""

    descriptor: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLayers:
    """The layers that a cache has, as one compressor writes them."""

    cache: BuildCache
    compressor: str
    """Its identity: others write other blobs of the same layer."""

    def find(self, entries: Sequence[TarEntry]) -> KeptLayer | None:
        """Find the layer of some entries, as `oci.tar.write_tar` takes them.

        Raises:
            VerificationError: `image-invalid`, from reading the entries.
        """
        record = self.cache.record(_KIND, self._key(entries))
        kept = None if record is None else _from_record(record)
        if kept is None or not self.cache.has_intact_blob(kept.descriptor.digest):
            return None
        return kept if diff_id_of(entries) == kept.diff_id else None

    def keep(self, entries: Sequence[TarEntry], layer: KeptLayer) -> None:
        """Remember the layer that was written of some entries."""
        content = {"descriptor": layer.descriptor.to_dict(), "diff_id": str(layer.diff_id)}
        self.cache.put_record(_KIND, self._key(entries), content)

    def _key(self, entries: Sequence[TarEntry]) -> str:
        outline = hashlib.sha256()
        for each in entries:
            fields = (each.path, each.kind.name, each.mode, each.size, each.link, each.uid, each.gid)
            outline.update(repr(fields).encode(errors="surrogatepass"))
        return cache_key(_KIND, self.compressor, outline.hexdigest())


def _from_record(record: dict[str, Any]) -> KeptLayer | None:
    try:
        return KeptLayer(
            descriptor=Descriptor.from_dict(record["descriptor"]), diff_id=Digest.parse(record["diff_id"])
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
