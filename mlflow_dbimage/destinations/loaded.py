"""A destination whose images are loaded into the local Docker engine too, ready to run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import Deployment, Destination, Written
from mlflow_dbimage.destinations.engine import EngineDestination
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.progress import Progress


class LoadedDestination:
    """Keeps images in `kept`, which is the truth, and a copy of each in an engine.

    Args:
        kept: Where images are listed and read from.
        engine: Where they are loaded too.
    """

    def __init__(self, kept: Destination, engine: EngineDestination) -> None:
        self._kept = kept
        self._engine = engine

    def deployments(self) -> tuple[Deployment, ...]:
        """List what is deployed, by name."""
        return self._kept.deployments()

    def deployment(self, name: str) -> Deployment | None:
        """Find a deployment."""
        return self._kept.deployment(name)

    def image(self, name: str) -> Image:
        """Open the image of a deployment."""
        return self._kept.image(name)

    def missing(self, name: str, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which blobs are lacking; the engine gets what is kept."""
        return self._kept.missing(name, blobs)

    def write(self, name: str, image: Image, progress: Progress) -> Written:
        """Write an image to both."""
        written = self._kept.write(name, image, progress)
        self._engine.write(name, image, progress)
        return written

    def set_name(self, name: str, image: Image, record: ImageRecord) -> Deployment:
        """Name it in the engine, then where it is kept."""
        self._engine.set_name(name, image, record)
        return self._kept.set_name(name, image, record)

    def beside(self, name: str) -> ReferrerStore | None:
        """Return what lies beside the images that are kept."""
        return self._kept.beside(name)

    def open_blob(self, name: str, blob: Descriptor) -> BinaryIO:
        """Open a blob that is kept."""
        return self._kept.open_blob(name, blob)

    def hold(self, name: str, image: Image) -> None:
        """Have it kept where it is kept."""
        self._kept.hold(name, image)

    def release(self, name: str, image: Image) -> None:
        """Take away what kept the image in both."""
        self._engine.release(name, image)
        self._kept.release(name, image)

    def delete(self, name: str) -> bool:
        """Take the name away in both."""
        self._engine.delete(name)
        return self._kept.delete(name)
