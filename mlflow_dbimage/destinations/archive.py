"""One file as a destination: an archive for `docker load`, `podman load` and skopeo."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import Deployment, TagScheme, Written, deployment_of
from mlflow_dbimage.destinations.golden_bases import record_of_base
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import archive_names, read_archive, write_archive
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.progress import Progress


class ArchiveDestination:
    """An image in a file. It holds one deployment; another name does not replace it.

    Args:
        path: Of the file.
        scheme: How tags are made.
        scratch: Folder for what is read back.
    """

    def __init__(self, path: Path, scheme: TagScheme, scratch: Path) -> None:
        self._path = path
        self._scheme = scheme
        self._scratch = scratch

    def deployments(self) -> tuple[Deployment, ...]:
        """List what is deployed: at most one."""
        return () if self._path.is_file() and record_of_base(self._read().labels) else self._named()

    def _named(self) -> tuple[Deployment, ...]:
        """List all that the file holds, golden bases too."""
        if not self._path.is_file():
            return ()
        tagged = [name.rpartition(":") for name in archive_names(self._path)]
        names = {repository for repository, _, _ in tagged}
        return tuple(
            deployment_of(
                name,
                f"docker-archive:{self._path}",
                self._read(),
                tuple(sorted(tag for repository, _, tag in tagged if repository == name)),
            )
            for name in sorted(names)
        )

    def deployment(self, name: str) -> Deployment | None:
        """Find a deployment."""
        return next((each for each in self.deployments() if each.name == name), None)

    def image(self, name: str) -> Image:
        """Open the image of a deployment."""
        if self.deployment(name) is None:
            raise InputError("not-deployed", f"no deployment `{name}` in `docker-archive:{self._path}`")
        return self._read()

    def missing(self, name: str, blobs: Iterable[Descriptor]) -> set[Digest]:
        """An archive is always written whole."""
        return {blob.digest for blob in blobs}

    def write(self, name: str, image: Image, progress: Progress) -> Written:
        """Check that the file is free: names are part of an archive, so it is written when they are set."""
        others = [each.name for each in self._named() if each.name != name]
        if others:
            raise InputError(
                "already-deployed",
                f"`docker-archive:{self._path}` holds `{others[0]}`",
                hint="name another file, or delete that deployment first",
            )
        return Written(sent=sum(layer.descriptor.size for layer in image.layers))

    def set_name(self, name: str, image: Image, record: ImageRecord) -> Deployment:
        """Write the file aside, with its names, and rename it."""
        tags = self._scheme.tags(name, record, image.digest)
        names = tuple(f"{name}:{tag}" for tag in tags)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, aside = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    write_archive(image, names, stream)
                Path(aside).chmod(0o644)
                Path(aside).replace(self._path)
            finally:
                Path(aside).unlink(missing_ok=True)
        except OSError as error:
            raise ServiceError("disk-failed", f"cannot write `{self._path}`: {error.strerror}") from error
        return deployment_of(name, f"docker-archive:{self._path}", image, tags)

    def beside(self, name: str) -> ReferrerStore | None:
        """An archive holds an image alone."""
        return None

    def open_blob(self, name: str, blob: Descriptor) -> BinaryIO:
        """Refuse: to an archive every blob is missing."""
        raise InputError("base-not-found", f"an archive does not give the layer {blob.digest}")

    def hold(self, name: str, image: Image) -> None:
        """Do nothing: nothing is written before the name is."""

    def release(self, name: str, image: Image) -> None:
        """Do nothing: nothing is written before the name is."""

    def delete(self, name: str) -> bool:
        """Delete the file, if it holds that deployment."""
        if self.deployment(name) is None:
            return False
        self._path.unlink(missing_ok=True)
        return True

    def _read(self) -> Image:
        return read_archive(self._path, self._scratch)
