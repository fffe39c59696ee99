"""OCI image layouts: a directory with blobs by digest and an index of what they are called.

Source: OCI image specification 1.1, image-layout.md. The index is replaced in one rename, under a lock, so
that a reader sees all tags of a change or none. What collects garbage holds the same lock, and spares what is
younger than an hour: a writer makes blobs young when it begins to rely on them, and names them later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.oci.blobs import Blobs
from mlflow_dbimage.oci.descriptor import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, canonical_json, read_image

REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_MARKER = b'{"imageLayoutVersion":"1.0.0"}'

_GRACE_SECONDS = 3600.0


class Layout:
    """A layout directory; it need not exist before something is written.

    Args:
        path: Of the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blobs = Blobs(path)

    def tags(self) -> Mapping[str, Descriptor]:
        """Return what each tag points to.

        Raises:
            InputError: `base-invalid`, the index cannot be read.
        """
        return {
            descriptor.annotations[REF_NAME]: descriptor
            for descriptor in self._entries()
            if REF_NAME in descriptor.annotations
        }

    def has_blob(self, digest: Digest) -> bool:
        """Whether the layout has a blob; its content is checked where it is read."""
        return self._blobs.has(digest)

    def image(self, reference: str | Digest, platform: Platform | None = None) -> Image:
        """Open an image by tag or digest. Manifest and config are verified now, layers as they are read.

        Args:
            reference: A tag, or the digest of a manifest or index.
            platform: Which image of an index; the first where it is None.

        Raises:
            InputError: `base-not-found`, `base-invalid`, `base-platform`.
            VerificationError: `digest-mismatch`.
        """
        place = f"oci:{self.path}:{reference}"
        digest = self._digest_of(reference)
        with _must_be_readable(place):
            manifest = self._blobs.read(digest)
            media_type = _media_type(manifest)
            index = manifest if media_type in INDEX_TYPES else None
            if index is not None:
                chosen = chosen_of_index(index, platform, place)
                manifest, media_type = self._blobs.read(chosen.digest), chosen.media_type
            if media_type not in MANIFEST_TYPES:
                raise InputError("base-invalid", f"`{place}` is no image but `{media_type}`")
            config = self._blobs.read(Digest.parse(read_json(manifest)["config"]["digest"]))
            image = read_image(manifest, media_type, config, lambda each: partial(self._blobs.open, each))
            return replace(image, index=index)

    def write_image(self, image: Image, report: Callable[[int], None] = lambda size: None) -> None:
        """Write the blobs that are missing, then config and manifest; no tag is set.

        Args:
            image: What to write.
            report: Called with bytes of layers as they are written.

        Raises:
            VerificationError: `digest-mismatch`, a layer's bytes are not what its descriptor says.
        """
        self._create()
        with self._lock():
            lacking = {
                layer.descriptor.digest: layer for layer in image.layers if not self._blobs.keep(layer.descriptor)
            }
        for layer in lacking.values():
            with layer.open() as stream:
                self._blobs.add(stream, layer.descriptor, report)
        for data in (image.config, image.manifest):
            self._blobs.add_bytes(data)

    def write_blobs(self, blobs: Iterable[bytes]) -> None:
        """Write small blobs: documents, and what artifacts hold."""
        self._create()
        for data in blobs:
            self._blobs.add_bytes(data)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob, verified as it is read.

        Raises:
            InputError: `base-not-found`.
        """
        return self._blobs.open(descriptor)

    def read(self, descriptor: Descriptor) -> bytes:
        """Read a document or another small blob.

        Raises:
            InputError: `base-invalid`, `base-not-found`.
            VerificationError: `digest-mismatch`.
        """
        self._digest_of(descriptor.digest)
        return self._blobs.read(descriptor.digest)

    def set_tags(self, tags: Mapping[str, Descriptor | None]) -> None:
        """Point tags at what was written, or remove those whose descriptor is None, all at once.

        Entries of others, and what we do not know of them, stay as they are.

        Raises:
            VerificationError: `image-invalid`, a blob of what is to be named is not there.
        """
        self._create()
        with self._lock():
            for tag, descriptor in tags.items():
                if descriptor is not None:
                    self._must_be_whole(tag, descriptor)
            document = self._index()
            kept = [
                entry
                for entry in document["manifests"]
                if (entry.get("annotations") or {}).get(REF_NAME) not in tags
            ]
            added = [_named(descriptor, tag) for tag, descriptor in tags.items() if descriptor is not None]
            document["manifests"] = sorted([*kept, *added], key=_order)
            self._replace("index.json", canonical_json(document))

    def garbage_collect(self) -> int:
        """Remove blobs that no entry of the index reaches, and return how many bytes that freed.

        Blobs younger than an hour stay: another process may be about to name them.
        """
        if not (self.path / "index.json").is_file():
            return 0
        with self._lock():
            reached = {each.hex for entry in self._entries() for each in self._reached(entry)}
            return self._blobs.collect(reached, _GRACE_SECONDS)

    def _reached(self, entry: Descriptor) -> Iterator[Digest]:
        yield entry.digest
        if entry.media_type not in INDEX_TYPES | MANIFEST_TYPES or not self._blobs.has(entry.digest):
            return  # some layouts hold only one platform's image of an index
        with _must_be_readable(f"oci:{self.path}@{entry.digest}"):
            document = read_json(self._blobs.read(entry.digest))
            for child in document.get("manifests") or ():
                yield from self._reached(Descriptor.from_dict(child))
            for blob in (*(document.get("layers") or ()), document.get("config")):
                if blob:
                    yield Digest.parse(blob["digest"])

    def _must_be_whole(self, tag: str, descriptor: Descriptor) -> None:
        lacking = [digest for digest in self._reached(descriptor) if not self._blobs.has(digest)]
        if lacking and descriptor.media_type in MANIFEST_TYPES:
            raise VerificationError(
                "image-invalid",
                f"`oci:{self.path}` lacks {lacking[0]}, so `{tag}` cannot point to {descriptor.digest}",
                hint="write the image again: blobs without a name are removed after an hour",
            )

    def _digest_of(self, reference: str | Digest) -> Digest:
        if not (self.path / "index.json").is_file():
            raise InputError("base-not-found", f"`oci:{self.path}` is no OCI layout: it has no `index.json`")
        if isinstance(reference, Digest):
            if not self.has_blob(reference):
                raise InputError("base-not-found", f"`oci:{self.path}` has no image {reference}")
            return reference
        tags = self.tags()
        if reference not in tags:
            known = ", ".join(f"`{tag}`" for tag in sorted(tags)[:8]) or "none"
            raise InputError(
                "base-not-found", f"`oci:{self.path}` has no tag `{reference}`; its tags are: {known}"
            )
        return tags[reference].digest

    def _index(self) -> dict[str, Any]:
        try:
            with _must_be_readable(f"oci:{self.path}"):
                document: dict[str, Any] = read_json((self.path / "index.json").read_bytes())
                for entry in document["manifests"]:
                    Descriptor.from_dict(entry)
                return document
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}

    def _entries(self) -> list[Descriptor]:
        return [Descriptor.from_dict(entry) for entry in self._index()["manifests"]]

    def _create(self) -> None:
        self._blobs.create()
        with self._lock():
            if not (self.path / "index.json").is_file():
                self._replace("index.json", canonical_json(self._index()))
            if not (self.path / "oci-layout").is_file():
                self._replace("oci-layout", LAYOUT_MARKER)

    def _replace(self, name: str, data: bytes) -> None:
        with self._blobs.aside() as out:
            out.write(data)
            self._blobs.rename(out, self.path / name)

    def _lock(self) -> FileLock:
        return FileLock(str(self.path / ".lock"))


def chosen_of_index(index: bytes, platform: Platform | None, place: str) -> Descriptor:
    """Choose the image of a platform from an index.

    Args:
        index: Its bytes.
        platform: That is wanted; None takes the first image. Attestations, whose platform is unknown, are none.
        place: Where the index is, for messages.

    Raises:
        InputError: `base-platform`, it has none; says what it has. `base-invalid`, it cannot be read.
    """
    with _must_be_readable(place):
        described = [Descriptor.from_dict(each) for each in read_json(index)["manifests"]]
    images = [each for each in described if each.platform is None or each.platform.os != "unknown"]
    fitting = [
        each
        for each in images
        if platform is None or (each.platform is not None and platform.accepts(each.platform))
    ]
    if not fitting:
        known = ", ".join(sorted({str(each.platform) for each in images if each.platform is not None}))
        raise InputError(
            "base-platform",
            f"`{place}` has no image for {platform or 'any platform'}; it has {known or 'none with a platform'}",
        )
    return fitting[0]


@contextmanager
def _must_be_readable(place: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, NotADirectoryError) as error:
        raise InputError("base-invalid", f"`{place}` cannot be read: {type(error).__name__}: {error}") from error


def _media_type(document: bytes) -> str:
    """Tell what a document is. The property is optional in OCI's; what it holds says it as well."""
    content = read_json(document)
    return str(content.get("mediaType") or (OCI_INDEX if "manifests" in content else OCI_MANIFEST))


def _named(descriptor: Descriptor, tag: str) -> dict[str, Any]:
    data = descriptor.to_dict()
    return {**data, "annotations": {**data.get("annotations", {}), REF_NAME: tag}}


def _order(entry: Mapping[str, Any]) -> tuple[str, str]:
    return (entry.get("annotations") or {}).get(REF_NAME, ""), entry["digest"]
