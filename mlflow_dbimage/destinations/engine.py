"""A Docker engine as a destination."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from mlflow_dbimage.build_receipt import RECORD_LABEL, ImageRecord
from mlflow_dbimage.destinations.deployment import Deployment, TagScheme, Written
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import read_archive
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """An image as an engine lists it."""

    identifier: str
    """`sha256:...`, of the config or, with the containerd store, of the manifest."""
    names: tuple[str, ...]
    """`repository:tag`."""
    labels: dict[str, str]
    size: int


class Engine(Protocol):
    """What we ask of a Docker engine."""

    def images(self, *, label: str) -> tuple[EngineImage, ...]:
        """List the images that have a label."""

    def load(self, image: Image, names: Sequence[str]) -> int:
        """Load an image under names, and say how many bytes were sent."""

    def tag(self, source: str, target: str) -> None:
        """Give an image a further name."""

    def untag(self, name: str) -> None:
        """Take a name away; the image goes with its last."""

    def save(self, reference: str, target: Path) -> None:
        """Write an image to an archive."""


class EngineDestination:
    """Images in a Docker engine.

    Args:
        engine: The engine.
        prefix: Put before a deployment's name, with a slash; may be empty.
        scheme: How tags are made.
        scratch: Folder for what is read back.
    """

    def __init__(self, engine: Engine, prefix: str, scheme: TagScheme, scratch: Path) -> None:
        self._engine = engine
        self._prefix = f"{prefix}/" if prefix else ""
        self._scheme = scheme
        self._scratch = scratch

    def deployments(self) -> tuple[Deployment, ...]:
        """List what is deployed, by name."""
        repositories = {name.rpartition(":")[0] for image in self._images() for name in image.names if ":" in name}
        names = sorted(each.removeprefix(self._prefix) for each in repositories if each.startswith(self._prefix))
        found = (self.deployment(name) for name in names)
        return tuple(each for each in found if each is not None)

    def deployment(self, name: str) -> Deployment | None:
        """Find a deployment."""
        tagged = self._tagged(name)
        tag = self._scheme.deployed_tag(name, tagged)
        if tag is None:
            return None
        image = tagged[tag]
        return Deployment(
            name=name,
            reference=f"{self._prefix}{name}:{tag}",
            digest=image.identifier,
            tags=tuple(sorted(tagged)),
            record=ImageRecord.from_labels(image.labels),
            size=image.size,
        )

    def image(self, name: str) -> Image:
        """Open the image of a deployment, by saving it from the engine."""
        deployment = self.deployment(name)
        if deployment is None:
            raise InputError("not-deployed", f"no deployment `{name}` in the Docker engine")
        target = Path(tempfile.mkdtemp(dir=self._scratch)) / "image.tar"
        self._engine.save(deployment.reference, target)
        return read_archive(target, target.parent)

    def missing(self, name: str, blobs: Iterable[Descriptor]) -> set[Digest]:
        """An engine does not tell by compressed digests what it has: everything may be needed."""
        return {blob.digest for blob in blobs}

    def write(self, name: str, image: Image, progress: Progress) -> Written:
        """Load an image under a tag for now: without one the engine may drop it."""
        with progress.step("loading into the Docker engine"):
            sent = self._engine.load(image, (self._unproven(name, image),))
        return Written(sent=sent)

    def set_name(self, name: str, image: Image, record: ImageRecord) -> Deployment:
        """Tag the loaded image, the name's own tag last."""
        for tag in self._scheme.tags(name, record, image.digest):
            self._engine.tag(self._unproven(name, image), f"{self._prefix}{name}:{tag}")
        deployment = self.deployment(name)
        assert deployment is not None, "it was tagged just now"
        return deployment

    def beside(self, name: str) -> ReferrerStore | None:
        """An engine keeps nothing beside its images."""
        return None

    def open_blob(self, name: str, blob: Descriptor) -> BinaryIO:
        """Refuse: to an engine every blob is missing."""
        raise InputError("base-not-found", f"a Docker engine does not give the layer {blob.digest}")

    def hold(self, name: str, image: Image) -> None:
        """Do nothing: a written image has a tag for now."""

    def release(self, name: str, image: Image) -> None:
        """Take away the tag that an image had for now; it goes, if that was its last."""
        self._engine.untag(self._unproven(name, image))

    def delete(self, name: str) -> bool:
        """Take all names of a deployment away."""
        tags = sorted(self._tagged(name), key=lambda tag: tag != self._scheme.current(name))
        for tag in tags:
            self._engine.untag(f"{self._prefix}{name}:{tag}")
        return bool(tags)

    def _unproven(self, name: str, image: Image) -> str:
        return f"{self._prefix}{name}:{self._scheme.unproven(name, image.digest)}"

    def _images(self) -> tuple[EngineImage, ...]:
        return self._engine.images(label=RECORD_LABEL)

    def _tagged(self, name: str) -> dict[str, EngineImage]:
        repository = f"{self._prefix}{name}"
        return {
            full.rpartition(":")[2]: image
            for image in self._images()
            for full in image.names
            if full.rpartition(":")[0] == repository
        }
