"""An OCI layout directory as a destination."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import (
    Deployment,
    TagScheme,
    Written,
    deployment_of,
    tags_beside,
)
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.artifact import is_tag_of_digest
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.layout_referrers import LayoutReferrers
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.progress import Progress


class LayoutDestination:
    """Images in a directory.

    Args:
        path: Of the layout; made when the first image is written.
        scheme: How tags are made.
    """

    def __init__(self, path: Path, scheme: TagScheme) -> None:
        self._path = path
        self._layout = Layout(path)
        self._scheme = scheme

    def deployments(self) -> tuple[Deployment, ...]:
        """List what is deployed, by name."""
        found = (self.deployment(name) for name in self._scheme.names(self._layout.tags()))
        return tuple(each for each in found if each is not None)

    def deployment(self, name: str) -> Deployment | None:
        """Find a deployment."""
        tags = self._layout.tags()
        tag = self._scheme.deployed_tag(name, tags)
        if tag is None:
            return None
        return deployment_of(
            name, f"oci:{self._path}:{tag}", self._layout.image(tag), self._scheme.of_name(name, tags)
        )

    def image(self, name: str) -> Image:
        """Open the image of a deployment."""
        tag = self._scheme.deployed_tag(name, self._layout.tags())
        if tag is None:
            raise InputError("not-deployed", f"no deployment `{name}` in `oci:{self._path}`")
        return self._layout.image(tag)

    def missing(self, name: str, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which blobs the layout lacks."""
        return {blob.digest for blob in blobs if not self._layout.has_blob(blob.digest)}

    def write(self, name: str, image: Image, progress: Progress) -> Written:
        """Write an image's blobs and manifest."""
        lacking = [layer for layer in image.layers if not self._layout.has_blob(layer.descriptor.digest)]
        with progress.step(f"writing `oci:{self._path}`") as step:
            step.total(sum(layer.descriptor.size for layer in lacking))
            self._layout.write_image(image, step.advance)
        sent = sum(layer.descriptor.size for layer in lacking) + len(image.config) + len(image.manifest)
        return Written(sent=sent, note=f"{len(image.layers) - len(lacking)} layers were there")

    def set_name(self, name: str, image: Image, record: ImageRecord) -> Deployment:
        """Set all tags in one rename of the index."""
        tags = self._scheme.tags(name, record, image.digest)
        self._layout.set_tags(dict.fromkeys(tags, image.descriptor))
        return deployment_of(name, f"oci:{self._path}:{tags[-1]}", image, tags)

    def beside(self, name: str) -> ReferrerStore | None:
        """Return what lies beside the layout's images."""
        return LayoutReferrers(self._layout)

    def open_blob(self, name: str, blob: Descriptor) -> BinaryIO:
        """Open a blob of the layout."""
        return self._layout.open_blob(blob)

    def hold(self, name: str, image: Image) -> None:
        """Do nothing: what was written lately is kept without a tag."""

    def release(self, name: str, image: Image) -> None:
        """Do nothing: nothing was held."""

    def delete(self, name: str) -> bool:
        """Remove the tags of a deployment, and the blobs that nothing else needs."""
        present = self._layout.tags()
        tags = self._scheme.of_name(name, present)
        if not tags:
            return False
        kept = {present[tag].digest for tag in present if tag not in tags and not is_tag_of_digest(tag)}
        beside = tags_beside({present[tag].digest for tag in tags} - kept, present)
        self._layout.set_tags(dict.fromkeys((*tags, *beside)))
        self._layout.garbage_collect()
        return True
