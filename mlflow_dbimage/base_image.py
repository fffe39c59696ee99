"""The base image: found, pinned to one digest and platform, and looked into for what decides the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.cluster_roots import root_part
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.evidence.bill_of_materials import Package, system_purl
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.layer_parts import keep_parts_of_base
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.inventory import Inventory, read_inventory
from mlflow_dbimage.oci.layer_part import PartRecorder
from mlflow_dbimage.oci.programs import Programs
from mlflow_dbimage.progress import Progress

# Ours is the only place in which we write; a base that links it elsewhere would change under us.
_OUR_ROOT = "opt"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base image, opened."""

    reference: str
    """As people name it, without what only means something on this machine."""
    image: Image
    glibc: str
    """Its version, such as `2.35`; the environment is solved for it."""
    parents: Mapping[str, tuple[int, int, int]]
    """Mode, uid and gid of directories that it has, by path."""
    system: str
    """The operating system's own name of itself."""
    packages: tuple[Package, ...] = ()
    """Of the operating system, as far as dpkg knows them."""


class BaseSources(Protocol):
    """Opens images from wherever a location says."""

    def open(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        """Open an image for one platform.

        Raises:
            InputError: `base-not-found`, `base-invalid`, `base-platform`.
            ServiceError: The registry, engine or program failed.
        """


def fetch(
    location: ImageLocation,
    platform: Platform,
    sources: BaseSources,
    cache: BuildCache,
    progress: Progress,
) -> BaseImage:
    """Open a base image and read what it holds, once for each digest.

    Raises:
        InputError: It does not exist, cannot be read, or has another platform or no glibc.
    """
    image = sources.open(location, platform, progress)
    if not platform.accepts(image.platform):
        raise InputError(
            "base-platform", f"the base image `{location}` is for {image.platform}, but {platform} is wanted"
        )
    inventory = _inventory(image, cache, progress)
    if inventory.glibc is None:
        raise InputError(
            "base-invalid",
            f"the base image `{location}` has no glibc, which conda packages and manylinux wheels need",
            hint="name a base of Debian, Ubuntu or Red Hat",
        )
    if _OUR_ROOT in inventory.links:
        raise InputError(
            "base-invalid", f"in the base image `{location}`, `/{_OUR_ROOT}` is a link; it must be a directory"
        )
    return BaseImage(
        reference=location.public_name,
        image=image,
        glibc=inventory.glibc,
        parents=inventory.directories,
        system=inventory.os_release.get("PRETTY_NAME", "an unnamed system"),
        packages=_packages(inventory),
    )


def _packages(inventory: Inventory) -> tuple[Package, ...]:
    distribution = inventory.os_release.get("ID", "debian")
    release = inventory.os_release.get("VERSION_ID", "")
    return tuple(
        Package(
            manager="system",
            name=each.name,
            version=each.version,
            purl=system_purl(
                each.name,
                each.version,
                distribution=distribution,
                release=release,
                architecture=each.architecture,
                source=each.source,
            ),
        )
        for each in inventory.packages
    )


def programs_of(image: Image, cache: BuildCache, progress: Progress) -> Programs:
    """Return the programs of a base, as they were seen in its layers, or are now.

    Raises:
        InputError: `base-invalid`, a layer is no archive or not the one that it should be.
        DbimageError: What opening the layers raises.
    """
    inventory = _inventory(image, cache, progress)
    return Programs(inventory.programs, inventory.links)


def _inventory(image: Image, cache: BuildCache, progress: Progress) -> Inventory:
    key = cache_key("inventory", 3, [str(layer.diff_id) for layer in image.layers])
    record = cache.record("inventories", key)
    if record is not None:
        return Inventory.from_dict(record)
    with progress.step("looking into the base image") as step:
        step.total(sum(layer.descriptor.size for layer in image.layers))
        noted: list[PartRecorder] = []

        def beside(layer: Layer) -> PartRecorder:
            noted.append(root_part.recorder())
            return noted[-1]

        inventory = read_inventory(image, beside)
        step.note(f"glibc {inventory.glibc}")
    # Bases are large, and often far away: what only clusters ask for is seen in the same reading.
    keep_parts_of_base(image.layers, [each.part() for each in noted], cache)
    cache.put_record("inventories", key, inventory.to_dict())
    return inventory
