"""Archives for `docker load`, and what `docker save` writes.

We write a hybrid: an OCI layout and Docker's `manifest.json` over the same blobs, in one tar. Docker's
classic store and containerd's both read it, and both take it without the layers that they already have
(docs/measurements.md). We read hybrids and the older form with a folder for each layer, and unpack nothing: a
layer is read from its place in the archive, and verified as it is.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.archive_members import (
    find_member,
    open_part,
    opened_archive,
    read_document,
    without_compression,
)
from mlflow_dbimage.oci.compression import sniffed_media_type
from mlflow_dbimage.oci.descriptor import (
    INDEX_TYPES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_TAR,
    OCI_MANIFEST,
    Descriptor,
)
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, Layer, canonical_json, read_image
from mlflow_dbimage.oci.layout import LAYOUT_MARKER, REF_NAME
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, Writer, file_entry, sorted_with_parents, write_tar

_CONTAINERD_NAME = "io.containerd.image.name"
_BLOBS = "blobs/sha256"


def write_archive(
    image: Image,
    names: Sequence[str],
    out: Writer,
    *,
    omit: frozenset[Digest] = frozenset(),
) -> None:
    """Write an archive of one image; equal images and names give equal bytes.

    Args:
        image: What to write.
        names: `repository:tag`, each of which the engine will give to the image.
        out: Where the bytes go.
        omit: Digests of layers that the reader is known to have.
    """
    blobs = {
        layer.descriptor.digest: _layer_entry(layer)
        for layer in image.layers
        if layer.descriptor.digest not in omit
    }
    documents = {
        "oci-layout": LAYOUT_MARKER,
        "index.json": canonical_json(_index(image, names)),
        "manifest.json": canonical_json([_docker_manifest(image, names)]),
        f"{_BLOBS}/{Digest.of(image.config).hex}": image.config,
        f"{_BLOBS}/{image.digest.hex}": image.manifest,
    }
    entries = [*blobs.values(), *(file_entry(path, data, 0o644) for path, data in documents.items())]
    write_tar(sorted_with_parents(entries, {}), out)


def archive_names(path: Path) -> tuple[str, ...]:
    """List the names in an archive that is not compressed.

    Raises:
        InputError: `base-invalid`.
    """
    with opened_archive(path) as archive:
        manifests = _images(archive)
        return tuple(name for manifest in manifests for name in manifest.get("RepoTags") or ())


def read_archive(path: Path, scratch: Path) -> Image:
    """Read the image of an archive, of `docker save` or of ours.

    The archive must stay as it is while the image is in use.

    Args:
        path: Of the archive; it may be compressed by gzip, zstd or xz.
        scratch: Folder for the archive without its compression, if it has one.

    Raises:
        InputError: `base-invalid`, it is no such archive, holds several images, or lacks a part of its image.
        VerificationError: `digest-mismatch`, its manifest is not what its index says.
    """
    plain = without_compression(path, scratch)
    with opened_archive(plain) as archive:
        manifests = _images(archive)
        if len(manifests) != 1:
            raise ValueError(f"it holds {len(manifests)} images, and one is needed")
        config = read_document(archive, manifests[0]["Config"])
        members = [find_member(archive, name) for name in manifests[0]["Layers"]]
        manifest = _stated_manifest(archive, config, members) or _made_manifest(archive, config, members)
        image = read_image(manifest, OCI_MANIFEST, config, lambda each: _unopened)
    layers = tuple(
        Layer(
            descriptor=layer.descriptor,
            diff_id=layer.diff_id,
            open=partial(open_part, plain, member.offset_data, layer.descriptor),
        )
        for layer, member in zip(image.layers, members, strict=True)
    )
    return Image(manifest=manifest, media_type=OCI_MANIFEST, config=config, layers=layers)


def _unopened() -> BinaryIO:
    raise AssertionError("layers get their openers from the members of the archive")


def _stated_manifest(archive: tarfile.TarFile, config: bytes, members: Sequence[tarfile.TarInfo]) -> bytes | None:
    """Find the manifest that the archive itself has for a config: then the image keeps its digest."""
    if "index.json" not in archive.getnames():
        return None
    for manifest in _manifests(archive, read_json(read_document(archive, "index.json")), nested=True):
        document = read_json(manifest)
        if document.get("mediaType", OCI_MANIFEST) != OCI_MANIFEST:
            continue
        sizes = [Descriptor.from_dict(each).size for each in document["layers"]]
        fits = sizes == [member.size for member in members]
        if fits and Descriptor.from_dict(document["config"]).digest == Digest.of(config):
            return manifest
    return None


def _manifests(archive: tarfile.TarFile, index: Mapping[str, Any], *, nested: bool) -> Iterator[bytes]:
    for entry in index["manifests"]:
        descriptor = Descriptor.from_dict(entry)
        name = f"{_BLOBS}/{descriptor.digest.hex}"
        if name not in archive.getnames():
            continue  # an index may name platforms that were not saved
        data = read_document(archive, name)
        if Digest.of(data) != descriptor.digest:
            raise VerificationError(
                "digest-mismatch", f"`{name}` in `{archive.name!s}` has the digest {Digest.of(data)}"
            )
        if descriptor.media_type not in INDEX_TYPES:
            yield data
        elif nested:
            yield from _manifests(archive, read_json(data), nested=False)


def _made_manifest(archive: tarfile.TarFile, config: bytes, members: Sequence[tarfile.TarInfo]) -> bytes:
    diff_ids = [Digest.parse(each) for each in read_json(config)["rootfs"]["diff_ids"]]
    if len(diff_ids) != len(members):
        raise ValueError(f"it has {len(members)} layers, and its config {len(diff_ids)}")
    layers = [_described(archive, member, diff_id) for member, diff_id in zip(members, diff_ids, strict=True)]
    described = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size=len(config))
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described.to_dict(),
            "layers": [layer.to_dict() for layer in layers],
        }
    )


def _described(archive: tarfile.TarFile, member: tarfile.TarInfo, diff_id: Digest) -> Descriptor:
    stream = archive.extractfile(member)
    assert stream is not None, "it is a file"
    media_type = sniffed_media_type(stream.read(4))
    stream.seek(0)
    # The digest of a plain layer is its diff ID, and is verified when the layer is read.
    digest = diff_id if media_type == OCI_LAYER_TAR else Digest.of_stream(cast(BinaryIO, stream))
    return Descriptor(media_type=media_type, digest=digest, size=member.size)


def _images(archive: tarfile.TarFile) -> list[dict[str, Any]]:
    images = read_json(read_document(archive, "manifest.json"))
    if not isinstance(images, list):
        raise ValueError("its `manifest.json` is no list")
    return images


def _layer_entry(layer: Layer) -> TarEntry:
    return TarEntry(
        path=f"{_BLOBS}/{layer.descriptor.digest.hex}",
        kind=EntryKind.FILE,
        mode=0o644,
        size=layer.descriptor.size,
        content=layer.open,
    )


def _index(image: Image, names: Sequence[str]) -> Mapping[str, Any]:
    entries = [
        {
            **image.descriptor.to_dict(),
            "annotations": {_CONTAINERD_NAME: _canonical(name), REF_NAME: name.rpartition(":")[2]},
        }
        for name in names
    ]
    return {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": entries or [image.descriptor.to_dict()],
    }


def _canonical(name: str) -> str:
    """Give the full name that containerd wants: without it the image stays hidden."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _docker_manifest(image: Image, names: Sequence[str]) -> Mapping[str, Any]:
    return {
        "Config": f"{_BLOBS}/{Digest.of(image.config).hex}",
        "RepoTags": list(names),
        "Layers": [f"{_BLOBS}/{layer.descriptor.digest.hex}" for layer in image.layers],
    }
