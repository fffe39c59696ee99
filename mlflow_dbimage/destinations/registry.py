"""A container registry as a destination: a repository for each deployment, or one for all."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import BinaryIO

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import (
    Deployment,
    TagScheme,
    Written,
    deployment_of,
    tags_beside,
)
from mlflow_dbimage.destinations.noted_names import NotedNames
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.artifact import is_tag_of_digest
from mlflow_dbimage.oci.descriptor import Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.parallel import in_parallel
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.registry_referrers import RepositoryReferrers
from mlflow_dbimage.oci.tombstone import is_tombstone
from mlflow_dbimage.progress import Progress

_WORKERS = 4


class RegistryDestination:
    """Images in a registry.

    Args:
        registry: The registry.
        prefix: Path below which the repositories are; may be empty.
        template: Of a repository: `{prefix}/{name}`, or without `{name}` for one repository for all.
        scheme: How tags are made.
        platform: Of the images.
    """

    def __init__(
        self, registry: Registry, prefix: str, template: str, scheme: TagScheme, platform: Platform
    ) -> None:
        self._registry = registry
        self._prefix = prefix
        self._template = template
        self._scheme = scheme
        self._platform = platform
        self._held: set[tuple[str, str]] = set()
        self._present: dict[str, set[Digest]] = {}
        self._noted = NotedNames(registry, prefix)

    def deployments(self) -> tuple[Deployment, ...]:
        """List what is deployed, by name."""
        found = (self.deployment(name) for name in self._names())
        return tuple(each for each in found if each is not None)

    def deployment(self, name: str) -> Deployment | None:
        """Find a deployment."""
        found = self._found(name)
        if found is None:
            return None
        image, tags = found
        reference = f"{self._repository(name).reference}@{image.digest}"
        return deployment_of(name, reference, image, self._scheme.of_name(name, tags))

    def image(self, name: str) -> Image:
        """Open the image of a deployment."""
        found = self._found(name)
        if found is None:
            raise InputError("not-deployed", f"no deployment `{name}` in `{self._repository(name).reference}`")
        return found[0]

    def missing(self, name: str, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Ask which blobs the repository lacks; of the others `write` asks no more."""
        asked = tuple(blobs)
        lacking = self._repository(name).missing(asked)
        self._present.setdefault(name, set()).update({each.digest for each in asked} - lacking)
        return lacking

    def write(self, name: str, image: Image, progress: Progress) -> Written:
        """Push an image by its digest."""
        repository = self._repository(name)
        with progress.step(f"pushing to `{repository.reference}`") as step:
            step.total(sum(layer.descriptor.size for layer in image.layers))
            pushed = repository.push(image, step.advance, self._present.get(name, set()))
        note = f"{pushed.uploaded} blobs sent, {pushed.mounted} mounted, {pushed.present} were there"
        return Written(sent=pushed.uploaded_bytes, note=note)

    def set_name(self, name: str, image: Image, record: ImageRecord) -> Deployment:
        """Set the tags, the name's own last."""
        repository = self._repository(name)
        tags = self._scheme.tags(name, record, image.digest)

        def put(tag: str) -> bool:
            return repository.put_manifest(tag, image.manifest, image.media_type)

        in_parallel(put, tags[:-1], _WORKERS, threading.Event())
        put(tags[-1])
        self._note_name(name, present=True)
        return deployment_of(name, f"{repository.reference}@{image.digest}", image, tags)

    def open_blob(self, name: str, blob: Descriptor) -> BinaryIO:
        """Open a blob of the repository."""
        return self._repository(name).open_blob(blob)

    def hold(self, name: str, image: Image) -> None:
        """Tag an image for now, unless tags never move."""
        if not self._scheme.immutable:
            tag = self._scheme.unproven(name, image.digest)
            self._repository(name).put_manifest(tag, image.manifest, image.media_type)
            self._held.add((name, tag))

    def release(self, name: str, image: Image) -> None:
        """Delete the tag that an image had for now, if it had one."""
        held = (name, self._scheme.unproven(name, image.digest))
        if held in self._held:
            self._repository(name).delete_tag(held[1])
            self._held.discard(held)

    def delete(self, name: str) -> bool:
        """Delete the tags of a deployment, the name's own first."""
        repository = self._repository(name)
        if self.deployment(name) is None:
            return False
        present = repository.tags()
        tags = self._scheme.of_name(name, present)
        others = [tag for tag in present if tag not in tags and not is_tag_of_digest(tag)]
        gone = _digests(repository, tags) - _digests(repository, others)
        for tag in sorted(tags, key=lambda tag: tag != self._scheme.current(name)):
            repository.delete_tag(tag)
        for tag in tags_beside(gone, present):
            repository.delete_tag(tag)
        self._note_name(name, present=False)
        return True

    def beside(self, name: str) -> ReferrerStore | None:
        """Return what lies beside images in the deployment's repository."""
        return RepositoryReferrers(self._registry, self._repository(name))

    def _repository(self, name: str) -> Repository:
        return Repository(self._registry, repository_path(self._template, self._prefix, name))

    def _found(self, name: str) -> tuple[Image, tuple[str, ...]] | None:
        """Open what is deployed under a name; return it with all tags of the repository, or None."""
        repository = self._repository(name)
        tags = repository.tags()
        tag = self._scheme.deployed_tag(name, tags)
        resolved = None if tag is None else repository.resolve(tag)
        if tag is None or resolved is None or is_tombstone(resolved[1]):
            return None
        return repository.resolved_image(resolved, self._platform, tag), tags

    def _names(self) -> tuple[str, ...]:
        if self._scheme.named:
            return self._scheme.names(self._repository("").tags())
        repositories = self._registry.catalog()
        if repositories is None:
            return self._noted.names()
        before, after = (
            part.format(prefix=self._prefix).lstrip("/") for part in self._template.split("{name}", 1)
        )
        inner = (
            each[len(before) : len(each) - len(after)]
            for each in repositories
            if each.startswith(before) and each.endswith(after)
        )
        return tuple(sorted(path.replace("/", ".") for path in inner if path))

    def _note_name(self, name: str, *, present: bool) -> None:
        if not self._scheme.named:
            self._noted.note(name, present=present)


def repository_path(template: str, prefix: str, name: str) -> str:
    """Return the repository of a deployment.

    Args:
        template: As of `RegistryDestination`.
        prefix: Path below which the repositories are; may be empty.
        name: Of the deployment.
    """
    return template.format(prefix=prefix, name=name.replace(".", "/")).strip("/")


def _digests(repository: Repository, tags: Iterable[str]) -> set[Digest]:
    return {repository.resolve(tag)[0].digest for tag in tags}
