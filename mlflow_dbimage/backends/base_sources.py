"""Where base images come from: a registry, a layout, the Docker engine, an archive, a tarball, an apt mirror."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import read_archive
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.rootfs import image_of_layer, rootfs_image
from mlflow_dbimage.progress import Progress

_COMPRESSION = Compression.GZIP
_WITHOUT_NETWORK = "name a base that is on this machine: an OCI layout, a tarball, an image of the Docker engine"


class Bootstrapper(Protocol):
    """Makes root file systems."""

    @property
    def identity(self) -> str:
        """What decides the result, apart from suite and platform."""

    def write_root_file_system(self, suite: str, platform: Platform, target: Path) -> None:
        """Write a tarball."""


class ImageSaver(Protocol):
    """Writes images of a Docker engine to archives."""

    def save(self, reference: str, target: Path) -> None:
        """Write one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBaseSources:
    """Opens base images with this machine's programs and files (`base_image.BaseSources`)."""

    cache: BuildCache
    registry: Callable[[str], Registry]
    """Gives the client of a registry by its host."""
    engine: Callable[[], ImageSaver | None]
    """Finds the Docker engine, if one answers."""
    bootstrapper: Bootstrapper
    offline: bool

    def open(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        """Open a base image for one platform."""
        opener = {
            "docker": self._from_registry,
            "oci": self._from_layout,
            "docker-daemon": self._from_engine,
            "docker-archive": self._from_archive,
            "rootfs": self._from_tarball,
            "apt": self._from_apt,
        }[location.transport]
        return opener(location, platform, progress)

    def _from_registry(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        if self.offline:
            raise ServiceError(
                "offline",
                f"the base image `{location}` is in a registry, and the network may not be used",
                hint=_WITHOUT_NETWORK,
            )
        with progress.step(f"asking for the base image `{location}`"):
            repository = Repository(self.registry(location.host), location.repository)
            return repository.image(location.reference, platform)

    def _from_layout(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        layout = Layout(location.path)
        tags = layout.tags()
        if not location.has_reference and len(tags) == 1:
            return layout.image(next(iter(tags)), platform)
        reference = location.reference
        return layout.image(Digest.parse(reference) if reference.startswith("sha256:") else reference, platform)

    def _from_engine(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        engine = self.engine()
        if engine is None:
            raise ServiceError(
                "engine-failed", f"the base image `{location}` is in a Docker engine, and none answers"
            )
        folder = self.cache.directory("bases")
        target = folder / f"{cache_key('engine', location.name)}.tar"
        with progress.step(f"saving `{location}` from the Docker engine"):
            engine.save(location.name, target)
        return read_archive(target, folder)

    def _from_archive(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        _must_be_file(location)
        return read_archive(location.path, self.cache.directory("bases"))

    def _from_tarball(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        _must_be_file(location)
        status = location.path.stat()
        identity = (status.st_size, status.st_mtime_ns, status.st_ino)
        key = cache_key("rootfs", str(location.path.resolve()), identity, str(platform))
        return self._cached(key, platform) or self._made(key, location.path, platform, progress)

    def _from_apt(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        # A suite moves as its packages are mended: made again each day, and pinned by digest in the image.
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        key = cache_key("apt", location.name, self.bootstrapper.identity, str(platform), today)
        with self.cache.lock(f"base-{key[:32]}"):
            cached = self._cached(key, platform)
            if cached is not None:
                return cached
            if self.offline:
                raise ServiceError(
                    "offline",
                    f"the base `{location}` is not in the cache, and the network may not be used",
                    hint=_WITHOUT_NETWORK,
                )
            with self.cache.work_directory() as work:
                tarball = work / f"{location.name}.tar"
                with progress.step(f"making the base `{location}` with mmdebstrap"):
                    self.bootstrapper.write_root_file_system(location.name, platform, tarball)
                return self._made(key, tarball, platform, progress)

    def _cached(self, key: str, platform: Platform) -> Image | None:
        record = self.cache.record("bases", key)
        if record is None or record["compressor"] != _COMPRESSION.identity:
            return None
        descriptor = Descriptor.from_dict(record["descriptor"])
        if not self.cache.has_intact_blob(descriptor.digest):
            return None
        return image_of_layer(descriptor, Digest.parse(record["diff_id"]), self.cache.open_blob, platform)

    def _made(self, key: str, path: Path, platform: Platform, progress: Progress) -> Image:
        with progress.step(f"making a layer of `{path.name}`"):
            image = rootfs_image(path, platform, self.cache.directory("blobs"), _COMPRESSION)
        layer = image.layers[0]
        self.cache.put_record(
            "bases",
            key,
            {
                "descriptor": layer.descriptor.to_dict(),
                "diff_id": str(layer.diff_id),
                "compressor": _COMPRESSION.identity,
            },
        )
        return image


def _must_be_file(location: ImageLocation) -> None:
    if not location.path.is_file():
        raise InputError("base-not-found", f"the base image `{location}` does not exist: no such file")
