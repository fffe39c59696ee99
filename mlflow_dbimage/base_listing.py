"""Golden bases as people want to see them: those at the destination, and those that the configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_dbimage.base_image import BaseSources
from mlflow_dbimage.destinations.golden_bases import BaseShelf, base_of
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.progress import Progress

# What is opened without reading or making a whole file system.
_READ_QUICKLY = ("docker", "oci", "docker-archive")
_UNKNOWN = ("digest", "runtime", "python", "packages", "drift", "size")


def listed(
    shelf: BaseShelf,
    mapped: Mapping[str, ImageLocation],
    sources: BaseSources,
    platform: Platform,
    progress: Progress,
) -> list[dict[str, Any]]:
    """List golden bases, each with the runtimes that the configuration maps to it.

    A location that is mapped and cannot be read, or holds no golden base, is listed with what is the matter.

    Args:
        shelf: The destination's bases.
        mapped: The configured base of each runtime.
        sources: Opens configured bases.
        platform: Of the images.
        progress: Where steps are reported.
    """
    rows = [{**base.to_dict(), "for": [], "problem": None} for base in shelf.bases()]
    for runtime, location in sorted(mapped.items()):
        found = _opened(location, sources, platform, progress)
        same = [row for row in rows if found["digest"] and row["digest"] == found["digest"]]
        if not same:
            rows.append(found)
        for row in same or [found]:
            row["for"] = [*row["for"], runtime]
    return rows


def _opened(
    location: ImageLocation, sources: BaseSources, platform: Platform, progress: Progress
) -> dict[str, Any]:
    row: dict[str, Any] = {**dict.fromkeys(_UNKNOWN), "name": str(location), "reference": str(location)}
    row |= {"for": [], "tags": [], "record": None, "problem": None}
    if location.transport not in _READ_QUICKLY:
        return {**row, "problem": "it is not looked into"}
    try:
        image = sources.open(location, platform, progress)
    except DbimageError as error:
        return {**row, "problem": error.message}
    base = base_of(str(location), str(location), image, ())
    if base is None:
        return {**row, "digest": str(image.digest), "problem": "it is no golden base"}
    return {**base.to_dict(), "for": [], "problem": None}
