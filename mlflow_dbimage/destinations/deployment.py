"""Deployments and their tags: how an image is called, and how names are read back from tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.oci.artifact import is_tag_of_digest
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.progress import Progress

_UNIQUE_TAG = re.compile(r"(?:(?P<name>.+)-)?(?P<version>v[0-9]+|local)-(?P<digest>[0-9a-f]{12})")
_CURRENT = "deployed"

#: What lies beside the deployments of a registry, in the place of ones of these names: records, and noted names.
CACHE_NAME, INDEX_NAME = "dbimage-cache", "dbimage-index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """An image that has a name."""

    name: str
    reference: str
    """How to pull or open it."""
    digest: str
    """Of the manifest; in a Docker engine, of the config."""
    tags: tuple[str, ...]
    """All tags of this deployment, those of earlier versions too."""
    record: ImageRecord | None
    """What the image is made from; None if the image is not ours or of a newer format."""
    size: int
    """Bytes of all layers: compressed, but in a Docker engine as it counts them."""

    def to_dict(self) -> dict[str, Any]:
        """Give what people want to know of it, flat, as `list` and `get` print it."""
        known = self.record
        return {
            "name": self.name,
            "reference": self.reference,
            "digest": self.digest,
            "model": known.model_uri if known else None,
            "version": known.model_version if known else None,
            "runtime": known.runtime if known else None,
            "base": known.base_reference if known else None,
            "python": known.python if known else None,
            "size": self.size,
            "tags": list(self.tags),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What writing an image cost."""

    sent: int
    """Bytes that the destination lacked."""
    note: str = ""
    """What the destination did not need, in a few words."""


class Destination(Protocol):
    """A place for images."""

    def deployments(self) -> tuple[Deployment, ...]:
        """List what is deployed, by name."""

    def deployment(self, name: str) -> Deployment | None:
        """Find a deployment."""

    def image(self, name: str) -> Image:
        """Open the image of a deployment.

        Raises:
            InputError: `not-deployed`.
        """

    def missing(self, name: str, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which blobs would have to be sent for a deployment of that name."""

    def write(self, name: str, image: Image, progress: Progress) -> Written:
        """Write an image without giving it its name."""

    def hold(self, name: str, image: Image) -> None:
        """Have a written image kept while it is proven, where what has no tag may be collected."""

    def open_blob(self, name: str, blob: Descriptor) -> BinaryIO:
        """Open a layer that an earlier image of that name brought: one that is not `missing`."""

    def set_name(self, name: str, image: Image, record: ImageRecord) -> Deployment:
        """Give a written image its tags; the name's own moves last."""

    def release(self, name: str, image: Image) -> None:
        """Take away what keeps a written image: it has its name, or shall not have it."""

    def delete(self, name: str) -> bool:
        """Take the name away, and say whether there was one. Images that others may use stay."""

    def beside(self, name: str) -> ReferrerStore | None:
        """Return where what refers to the images of a deployment is kept; None where the medium keeps no such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagScheme:
    """How the tags of a deployment are made.

    Attributes:
        named: Whether tags begin with the deployment's name: where many share a place.
        immutable: Whether only tags that never move are made.
        extra: A further tag that the user wants, or None.
    """

    named: bool
    immutable: bool = False
    extra: str | None = None

    def tags(self, name: str, record: ImageRecord, digest: Digest) -> tuple[str, ...]:
        """Return the tags to set, the name's own last."""
        version = version_tag(record.model_version)
        prefix = f"{name}-" if self.named else ""
        unique = f"{prefix}{version}-{digest.short}"
        extra = () if self.extra is None else (f"{prefix}{self.extra}",)
        if self.immutable:
            return (unique, *extra)
        return (unique, f"{prefix}{version}", *extra, self.current(name))

    def unproven(self, name: str, digest: Digest) -> str:
        """Return the tag of an image that is not proven yet."""
        return f"{name}-verify-{digest.short}" if self.named else f"verify-{digest.short}"

    def current(self, name: str) -> str:
        """Return the tag that says what is deployed under a name."""
        return name if self.named else _CURRENT

    def names(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the names that tags speak of, where tags begin with names."""
        matches = (_UNIQUE_TAG.fullmatch(tag) for tag in tags)
        return tuple(sorted({match["name"] for match in matches if match is not None and match["name"]}))

    def of_name(self, name: str, tags: Iterable[str]) -> tuple[str, ...]:
        """Return those of `tags` that belong to a deployment."""
        if not self.named:
            return tuple(sorted(tag for tag in tags if not is_tag_of_digest(tag)))
        versions = re.compile(re.escape(name) + r"-(v[0-9]+|local)(-[0-9a-f]{12})?")
        return tuple(sorted(tag for tag in tags if tag == name or versions.fullmatch(tag)))

    def deployed_tag(self, name: str, tags: Iterable[str]) -> str | None:
        """Return the tag of what is deployed: the name's own, else the highest version's."""
        own = self.of_name(name, tags)
        if self.current(name) in own:
            return self.current(name)
        if not self.immutable:
            return None
        unique = [(tag, _UNIQUE_TAG.fullmatch(tag)) for tag in own]
        versions = [(_version_order(match["version"]), tag) for tag, match in unique if match is not None]
        return max(versions)[1] if versions else None


def immutable_reference(deployment: Deployment) -> str:
    """Return how to pull a deployment's image from a registry by a name that never moves.

    That is the tag of version and digest, since not all that pull take a digest; the digest where somebody
    deleted that tag.
    """
    repository, _, _ = deployment.reference.rpartition("@")
    short = Digest.parse(deployment.digest).short
    own = (tag for tag in deployment.tags if _UNIQUE_TAG.fullmatch(tag) and tag.endswith(f"-{short}"))
    tag = next(own, None)
    return deployment.reference if tag is None else f"{repository}:{tag}"


def tags_beside(gone: Iterable[Digest], tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of what lies beside images that nothing names any more."""
    digits = {digest.hex for digest in gone}
    return tuple(
        sorted(tag for tag in tags if is_tag_of_digest(tag) and tag.split("-")[1].split(".")[0] in digits)
    )


def version_tag(version: str | None) -> str:
    """Return the tag of a model version; `local` for a model that has none."""
    return "local" if version is None else f"v{version}"


def _version_order(tag: str) -> int:
    return int(tag[1:]) if tag[1:].isdigit() else -1


def deployment_of(name: str, reference: str, image: Image, tags: Iterable[str]) -> Deployment:
    """Describe an image that has a name."""
    labels: Mapping[str, str] = image.annotations if image.annotations.get("dev.dbimage.record") else image.labels
    return Deployment(
        name=name,
        reference=reference,
        digest=str(image.digest),
        tags=tuple(tags),
        record=ImageRecord.from_labels(labels),
        size=sum(layer.descriptor.size for layer in image.layers),
    )
