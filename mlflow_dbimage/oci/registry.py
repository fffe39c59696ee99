"""Registries: pull an image lazily, push one with what is missing, move and delete tags.

Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from mlflow_dbimage.errors import InputError, ServiceError, VerificationError
from mlflow_dbimage.oci.artifact import Artifact
from mlflow_dbimage.oci.blob_streams import LayerBody, pulled_blob
from mlflow_dbimage.oci.descriptor import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, Layer, read_image
from mlflow_dbimage.oci.layout import chosen_of_index
from mlflow_dbimage.oci.parallel import in_parallel
from mlflow_dbimage.oci.registry_auth import Access
from mlflow_dbimage.oci.registry_documents import ACCEPT, media_type
from mlflow_dbimage.oci.registry_lists import listed
from mlflow_dbimage.oci.registry_transport import Answer, Call, Clock, Transport
from mlflow_dbimage.oci.registry_upload import Uploader
from mlflow_dbimage.oci.tombstone import tombstone

_T = TypeVar("_T")

_WORKERS = 4
_QUESTIONS = 16
_CATALOG = "/v2/_catalog"
_NO_CATALOG = frozenset({401, 403, 404, 405, 501})
#: Registries refuse larger manifests (OCI distribution specification 1.1, "Pushing Manifests").
_MOST_DOCUMENT = 4 << 20


class Registry:
    """A registry.

    Args:
        host: With its port; `index.docker.io` for Docker Hub. Loopback is reached by plain http, unless there
            is a certificate for it.
        insecure: Whether any other host is, too.
        ca_cert: Certificates to trust besides the system's.
        clock: Time, for tests.

    Raises:
        UsageError: `bad-value`, the file holds no certificates.
    """

    def __init__(
        self, host: str, *, insecure: bool = False, ca_cert: Path | None = None, clock: Clock | None = None
    ) -> None:
        self.host = host
        self.transport = Transport(host, insecure=insecure, ca_cert=ca_cert, clock=clock)

    def catalog(self) -> tuple[str, ...] | None:
        """List the repositories, or None where the registry does not tell."""
        return self._of_catalog(
            lambda access: listed(self.transport, _CATALOG, "repositories", access, _NO_CATALOG)
        )

    def has_catalog(self) -> bool:
        """Whether the registry lists its repositories; of thousands it is asked for one."""
        accepts = _NO_CATALOG | {200}

        def first(access: Access) -> Answer:
            call = Call(method="GET", place=f"{_CATALOG}?n=1", access=access, accepts=accepts)
            return self.transport.send(call)

        answer = self._of_catalog(first)
        return answer is not None and answer.status == 200

    def _of_catalog(self, ask: Callable[[Access], _T | None]) -> _T | None:
        access = Access(scopes=frozenset({"registry:catalog:*"}))
        try:
            return ask(access)
        except ServiceError as error:
            if error.code != "registry-denied":
                raise
            return None  # a token server may refuse what a registry would


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What pushing an image took."""

    uploaded_bytes: int
    uploaded: int
    """Blobs that were sent."""
    mounted: int
    """Blobs that the registry took from another of its repositories."""
    present: int
    """Blobs that were there."""


class Repository:
    """A repository of a registry.

    Args:
        registry: The registry.
        name: Of the repository.
    """

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._transport = registry.transport
        self.name = name

    @property
    def reference(self) -> str:
        """How the repository is called: `host/name`."""
        return f"{self._registry.host}/{self.name}"

    def resolve(self, reference: str) -> tuple[Descriptor, bytes]:
        """Fetch a manifest or index by tag or digest.

        Raises:
            InputError: `base-not-found`, `base-invalid`.
            VerificationError: `digest-mismatch`.
        """
        place = _join(self.reference, reference)
        answer = self._ask("GET", reference, "pull", frozenset({200, 404}))
        if answer.status == 404:
            raise InputError("base-not-found", f"`{place}` does not exist")
        if len(answer.data) > _MOST_DOCUMENT:
            raise InputError("base-invalid", f"the manifest of `{place}` has {len(answer.data)} bytes")
        digest = Digest.of(answer.data)
        promised = reference if ":" in reference else answer.headers.get("Docker-Content-Digest", "")
        if promised.startswith("sha256:") and str(digest) != promised:
            raise VerificationError(
                "digest-mismatch", f"the manifest of `{place}` came with the digest {digest}, not {promised}"
            )
        kind = media_type(answer, place)
        return Descriptor(media_type=kind, digest=digest, size=len(answer.data)), answer.data

    def image(self, reference: str, platform: Platform) -> Image:
        """Open an image; its layers are fetched when somebody opens them.

        Raises:
            InputError: `base-not-found`, `base-platform`, `base-invalid`.
            VerificationError: `digest-mismatch`.
        """
        return self.resolved_image(self.resolve(reference), platform, reference)

    def resolved_image(self, resolved: tuple[Descriptor, bytes], platform: Platform, reference: str) -> Image:
        """Open an image of which the manifest or index was fetched; else as `image`."""
        place = _join(self.reference, reference)
        descriptor, manifest = resolved
        index = manifest if descriptor.media_type in INDEX_TYPES else None
        if index is not None:
            chosen = chosen_of_index(index, platform, place)
            descriptor, manifest = self.resolve(str(chosen.digest))
        if descriptor.media_type not in MANIFEST_TYPES:
            raise InputError("base-invalid", f"`{place}` is no image but `{descriptor.media_type}`")
        try:
            config = self._fetch(Descriptor.from_dict(read_json(manifest)["config"]))
            image = read_image(manifest, descriptor.media_type, config, lambda each: partial(self.open_blob, each))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("base-invalid", f"`{place}` is no image that we can read: {error}") from error
        layers = tuple(replace(layer, origin=self.reference) for layer in image.layers)
        return replace(image, layers=layers, index=index)

    def missing(self, descriptors: Iterable[Descriptor]) -> set[Digest]:
        """Ask which blobs are not here, all at once."""
        return self._lacking({descriptor.digest for descriptor in descriptors})

    def push(
        self,
        image: Image,
        report: Callable[[int], None] = lambda size: None,
        present: Set[Digest] = frozenset(),
    ) -> Pushed:
        """Push what is missing of an image, then its manifest by digest; no tag is set.

        Args:
            image: What to push.
            report: Called, in any thread, with the bytes of layers that are done: sent, mounted or there.
            present: Blobs that are known to be there.

        Raises:
            ServiceError: As `Transport.send`; `disk-failed`, a layer cannot be read.
            VerificationError: `digest-mismatch`, a layer's bytes are not what its descriptor says.
        """
        config = image.config_descriptor
        layers = {layer.descriptor.digest: layer for layer in image.layers}
        missing = self._lacking({*layers, config.digest} - present)
        lacking = [layer for digest, layer in layers.items() if digest in missing]
        report(
            sum(layer.descriptor.size for layer in image.layers) - sum(each.descriptor.size for each in lacking)
        )
        stop = threading.Event()
        jobs = [partial(self._bring, layer, report, stop) for layer in lacking]
        if config.digest in missing:
            jobs.append(partial(self._put, image.config))
        sent = in_parallel(lambda job: job(), jobs, _WORKERS, stop)
        self.put_manifest(str(image.digest), image.manifest, image.media_type)
        sizes = [layer.descriptor.size for layer, was_sent in zip(lacking, sent, strict=False) if was_sent]
        sizes += [config.size] if config.digest in missing else []
        return Pushed(
            uploaded_bytes=sum(sizes) + len(image.manifest),
            uploaded=len(sizes),
            mounted=sent.count(False),
            present=len(layers.keys() | {config.digest}) - len(missing),
        )

    def mount(self, blob: Descriptor, source: str) -> bool:
        """Take a blob from the repository `source` of the same registry, and return whether it is here now."""
        uploader = self._uploader()
        return uploader.has(blob.digest) or uploader.mount(blob.digest, source)

    def put_blob(self, data: bytes) -> None:
        """Store a small blob."""
        self._put(data)

    def put_blobs(self, blobs: Iterable[bytes]) -> None:
        """Store those of some small blobs that are not there, several at a time."""
        own = {Digest.of(data): data for data in blobs}
        lacking = self._lacking(own.keys())
        wanted = [data for digest, data in own.items() if digest in lacking]
        in_parallel(self.put_blob, wanted, _WORKERS, threading.Event())

    def put_artifact(self, tag: str, artifact: Artifact) -> Digest:
        """Store an artifact under a tag, and return its digest."""
        self.put_blobs(artifact.blobs)
        self.put_manifest(tag, artifact.manifest, OCI_MANIFEST)
        return artifact.digest

    def blob(self, descriptor: Descriptor) -> bytes:
        """Fetch a small blob.

        Raises:
            InputError: `base-invalid`, it is larger than a document may be.
            VerificationError: `digest-mismatch`.
        """
        try:
            return self._fetch(descriptor)
        except ValueError as error:
            raise InputError("base-invalid", f"`{self.reference}@{descriptor.digest}`: {error}") from error

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob; its digest is verified as it is read."""
        place = f"/v2/{self.name}/blobs/{descriptor.digest}"
        return pulled_blob(self._transport, place, self._access("pull"), descriptor)

    def put_manifest(self, reference: str, manifest: bytes, media_type: str) -> bool:
        """Store a manifest under a tag or its digest; return whether the registry listed it under its subject."""
        call = Call(
            method="PUT",
            place=f"/v2/{self.name}/manifests/{reference}",
            access=self._access("pull,push"),
            accepts=frozenset({200, 201, 202}),
            headers={"Content-Type": media_type},
            body=manifest,
        )
        headers = self._transport.send(call).headers
        stored = headers.get("Docker-Content-Digest", "")
        if stored.startswith("sha256:") and stored != str(Digest.of(manifest)):
            raise VerificationError(
                "digest-mismatch",
                f"`{_join(self.reference, reference)}` was stored as {stored}, not {Digest.of(manifest)}",
            )
        return "OCI-Subject" in headers

    def tags(self) -> tuple[str, ...]:
        """List the tags; none where there is no such repository."""
        place = f"/v2/{self.name}/tags/list"
        return listed(self._transport, place, "tags", self._access("pull"), frozenset({404})) or ()

    def delete_tag(self, tag: str) -> None:
        """Delete a tag and leave other tags of the same image.

        Registries differ: some delete a tag, others only a manifest with all its tags. There the tag is first
        moved to a tombstone of its own, which is then deleted; where nothing may be deleted it stays
        (`tombstone.is_tombstone`).
        """
        if self._delete(tag) or not self.exists(tag):
            return
        self._delete(str(self.put_artifact(tag, tombstone(tag))))

    def _delete(self, reference: str) -> bool:
        try:
            answer = self._ask("DELETE", reference, "delete", frozenset({200, 202, 400, 404, 405, 501}))
        except ServiceError as error:
            if error.code != "registry-denied":
                raise
            return False  # who may push need not have the right to delete
        return answer.status in (200, 202)

    def exists(self, reference: str) -> bool:
        """Whether there is a manifest of that tag or digest."""
        return self._ask("HEAD", reference, "pull", frozenset({200, 404})).status == 200

    def _ask(self, method: str, reference: str, actions: str, accepts: frozenset[int]) -> Answer:
        call = Call(
            method=method,
            place=f"/v2/{self.name}/manifests/{reference}",
            access=self._access(actions),
            accepts=accepts,
            headers={"Accept": ACCEPT},
        )
        return self._transport.send(call)

    def _bring(self, layer: Layer, report: Callable[[int], None], stop: threading.Event) -> bool:
        """Mount a layer, or send it; return whether it was sent."""
        digest, size = layer.descriptor.digest, layer.descriptor.size
        host, _, source = (layer.origin or "").partition("/")
        mountable = host == self._registry.host and source != self.name
        body = LayerBody(layer, report, stop)
        was_sent = self._uploader().put(digest, size, body, mount_from=source if mountable else None)
        body.settled()
        return was_sent

    def _lacking(self, digests: Set[Digest]) -> set[Digest]:
        asked = sorted(digests)
        there = in_parallel(self._uploader().has, asked, _QUESTIONS, threading.Event())
        return {digest for digest, present in zip(asked, there, strict=True) if not present}

    def _put(self, data: bytes) -> bool:
        return self._uploader().put(Digest.of(data), len(data), lambda: io.BytesIO(data))

    def _uploader(self) -> Uploader:
        return Uploader(transport=self._transport, repository=self.name)

    def _fetch(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > _MOST_DOCUMENT:
            raise ValueError(f"{descriptor.digest} has {descriptor.size} bytes")
        with self.open_blob(descriptor) as stream:
            return stream.read()

    def _access(self, actions: str) -> Access:
        return Access.to(self.name, actions)


def _join(repository: str, reference: str) -> str:
    return f"{repository}@{reference}" if ":" in reference else f"{repository}:{reference}"
