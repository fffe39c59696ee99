"""Artifacts in a registry that refer to an image: attach, list and read them.

Source: OCI distribution specification 1.1, "Pushing Manifests with Subject", "Listing Referrers" and "Referrers
Tag Schema": where a registry keeps no list, a tag named for the image's digest points to one, which clients keep.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence

from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.oci.artifact import (
    Artifact,
    Referrer,
    first_content,
    read_referrers,
    referrers_index,
    referrers_tag,
)
from mlflow_dbimage.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.parallel import in_parallel
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.registry_auth import Access
from mlflow_dbimage.oci.registry_transport import Call
from mlflow_dbimage.oci.tombstone import is_tombstone

_TRIES = 5
_WORKERS = 4
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*rel="?next\b')
# Docker Hub and old registries answer in all of these ways that they have no such list.
_NO_LIST = frozenset({400, 401, 403, 404, 405, 406, 501})


class RepositoryReferrers:
    """The artifacts of a repository.

    Args:
        registry: The registry.
        repository: Of it.
    """

    def __init__(self, registry: Registry, repository: Repository) -> None:
        self._transport = registry.transport
        self._repository = repository

    @property
    def place(self) -> str:
        """The repository, with its host."""
        return self._repository.reference

    def list(self, subject: Digest) -> tuple[Referrer, ...]:
        """List what refers to a manifest.

        Raises:
            InputError: `base-invalid`, a list cannot be read.
        """
        told = self._told(subject)
        found = {each.digest: each for each in (*(told or ()), *self._noted(subject))}
        return tuple(found[digest] for digest in sorted(found, key=str))

    def attach(self, subject: Digest, artifacts: Sequence[Artifact]) -> None:
        """Store artifacts that refer to a manifest, and note those that the registry does not.

        Raises:
            ServiceError: `registry-failed`, others change the list so often that it cannot be written.
        """
        self._repository.put_blobs(blob for each in artifacts for blob in each.blobs)
        listed = in_parallel(self._put, artifacts, _WORKERS, threading.Event())
        unlisted = [each.referrer for each, told in zip(artifacts, listed, strict=True) if not told]
        if unlisted:
            self._note(subject, unlisted)

    def content(self, referrer: Referrer) -> bytes:
        """Fetch the first blob of an artifact.

        Raises:
            InputError: `base-invalid`, it has none, or what it has is too large.
        """
        return self._repository.blob(first_content(self._repository.resolve(str(referrer.digest))[1], referrer))

    def put_tagged(self, tag: str, manifest: bytes, blobs: Iterable[bytes]) -> None:
        """Store a manifest of a form of its own under a tag, after its blobs."""
        self._repository.put_blobs(blobs)
        self._repository.put_manifest(tag, manifest, OCI_MANIFEST)

    def tagged(self, tag: str) -> bytes | None:
        """Fetch a manifest by its tag; None where there is none, or what stands for a deleted one."""
        try:
            manifest = self._repository.resolve(tag)[1]
        except InputError as error:
            if error.code == "base-not-found":
                return None
            raise
        return None if is_tombstone(manifest) else manifest

    def blob(self, descriptor: Descriptor) -> bytes:
        """Fetch a small blob."""
        return self._repository.blob(descriptor)

    def _told(self, subject: Digest) -> tuple[Referrer, ...] | None:
        """Ask the registry; None where it keeps no list."""
        found: list[Referrer] = []
        following: str | None = f"/v2/{self._repository.name}/referrers/{subject}"
        while following is not None:
            call = Call(
                method="GET",
                place=following,
                access=Access.to(self._repository.name, "pull"),
                accepts=_NO_LIST | {200},
                headers={"Accept": OCI_INDEX},
            )
            answer = self._transport.send(call)
            if answer.status != 200:
                return None
            found += self._read(answer.data, subject)
            link = _NEXT.search(answer.headers.get("Link", ""))
            following = None if link is None else self._transport.beside(call, link[1])
        return tuple(found)

    def _noted(self, subject: Digest) -> tuple[Referrer, ...]:
        """Read the list that clients keep."""
        index = self.tagged(referrers_tag(subject))
        return () if index is None else self._read(index, subject)

    def _put(self, artifact: Artifact) -> bool:
        return self._repository.put_manifest(str(artifact.digest), artifact.manifest, OCI_MANIFEST)

    def _note(self, subject: Digest, referrers: Sequence[Referrer]) -> None:
        # Registries do not compare before they write: another client may have written in between.
        noted = self._noted(subject)
        for _ in range(_TRIES):
            if all(each in noted for each in referrers):
                return
            index = referrers_index((*noted, *referrers))
            self._repository.put_manifest(referrers_tag(subject), index, OCI_INDEX)
            noted = self._noted(subject)
        lacking = [each.artifact_type for each in referrers if each not in noted]
        if lacking:
            raise ServiceError(
                "registry-failed",
                f"the list of what refers to {subject} in `{self._repository.reference}` does not keep"
                f" {', '.join(lacking)}",
                hint="others write it at the same time: try again",
            )

    def _read(self, index: bytes, subject: Digest) -> tuple[Referrer, ...]:
        try:
            return read_referrers(index)
        except ValueError as error:
            raise InputError(
                "base-invalid", f"`{self._repository.reference}`: what refers to {subject} is {error}"
            ) from error
