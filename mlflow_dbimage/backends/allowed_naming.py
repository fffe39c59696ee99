"""A destination whose names move only when somebody allows it, at the last moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import Deployment, Destination, Written
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.progress import Progress


class AllowedNaming:
    """A destination as another one, but for the wait before an image gets its name (`Destination`).

    Args:
        destination: The other one.
        wait: Returns when a name may move.
    """

    def __init__(self, destination: Destination, wait: Callable[[], None]) -> None:
        self._destination = destination
        self._wait = wait

    def set_name(self, name: str, image: Image, record: ImageRecord) -> Deployment:
        """Wait, and give a written image its tags."""
        self._wait()
        return self._destination.set_name(name, image, record)

    def deployments(self) -> tuple[Deployment, ...]:
        """List what is deployed, by name."""
        return self._destination.deployments()

    def deployment(self, name: str) -> Deployment | None:
        """Find a deployment."""
        return self._destination.deployment(name)

    def image(self, name: str) -> Image:
        """Open the image of a deployment."""
        return self._destination.image(name)

    def missing(self, name: str, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which blobs would have to be sent."""
        return self._destination.missing(name, blobs)

    def write(self, name: str, image: Image, progress: Progress) -> Written:
        """Write an image without giving it a name."""
        return self._destination.write(name, image, progress)

    def hold(self, name: str, image: Image) -> None:
        """Keep a written image from being collected before it has a name."""
        self._destination.hold(name, image)

    def open_blob(self, name: str, blob: Descriptor) -> BinaryIO:
        """Open a blob that is there."""
        return self._destination.open_blob(name, blob)

    def release(self, name: str, image: Image) -> None:
        """Keep it no longer."""
        self._destination.release(name, image)

    def delete(self, name: str) -> bool:
        """Take a name away."""
        return self._destination.delete(name)

    def beside(self, name: str) -> ReferrerStore | None:
        """Return where what refers to images is kept."""
        return self._destination.beside(name)
