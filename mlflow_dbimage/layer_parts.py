"""What clusters look at in the layers of an image, as it is kept: a hundredth of a base, nothing of a model."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.cluster_roots import root_part
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.layer_members import visit
from mlflow_dbimage.oci.layer_part import LayerPart

#: Of a single layer, and of all layers of a base.
KIND, OF_BASES = "layer-parts", "base-parts"
#: Raised when another part is looked at.
_FORMAT = 1


def part_of(layer: Layer, cache: BuildCache) -> LayerPart:
    """Return what clusters look at in a layer, from the cache or from its bytes.

    Raises:
        InputError: `base-invalid`, the layer is no archive or not the one that it should be.
        DbimageError: What opening the layer raises.
    """
    record = cache.record(KIND, part_key(layer.descriptor.digest, layer.diff_id))
    if record is not None:
        return LayerPart.from_dict(record)
    noted = root_part.recorder()
    visit(layer, noted)
    part = noted.part()
    keep_part(layer, part, cache)
    return part


def keep_part(layer: Layer, part: LayerPart, cache: BuildCache) -> None:
    """Keep what was seen in a layer."""
    cache.put_record(KIND, part_key(layer.descriptor.digest, layer.diff_id), part.to_dict())


def part_key(digest: Digest, diff_id: Digest) -> str:
    """Return the key under which the part of a layer is kept."""
    return cache_key(KIND, _FORMAT, str(digest), str(diff_id))


def parts_of_base(layers: Sequence[Layer], cache: BuildCache) -> tuple[LayerPart, ...]:
    """Return what clusters look at in the layers of a base, from the cache or from their bytes.

    Raises: as `part_of`.
    """
    record = cache.record(OF_BASES, _key_of_base(layers))
    if record is not None:
        return tuple(LayerPart.from_dict(each) for each in record["layers"])
    parts = tuple(part_of(layer, cache) for layer in layers)
    keep_parts_of_base(layers, parts, cache)
    return parts


def keep_parts_of_base(layers: Sequence[Layer], parts: Sequence[LayerPart], cache: BuildCache) -> None:
    """Keep what was seen in the layers of a base."""
    cache.put_record(OF_BASES, _key_of_base(layers), {"layers": [part.to_dict() for part in parts]})


def _key_of_base(layers: Sequence[Layer]) -> str:
    return cache_key(OF_BASES, _FORMAT, [str(layer.diff_id) for layer in layers])
