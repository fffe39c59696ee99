"""Throwaway images for tests."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, append
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.rootfs import image_of_layer
from mlflow_dbimage.oci.tar import file_entry, sorted_with_parents

LINUX = Platform("linux", "amd64")


def noise(seed: str, size: int) -> bytes:
    """Bytes that do not compress and are the same each time."""
    return hashlib.shake_256(seed.encode()).digest(size)


def small_image(directory: Path, layers: int = 2, size: int = 2000, seed: str = "a") -> Image:
    """An image whose blobs are in `directory`, with one file a layer."""
    directory.mkdir(parents=True, exist_ok=True)
    made = [
        write_layer(
            sorted_with_parents(
                [file_entry(f"opt/{seed}/{number}.bin", noise(f"{seed}{number}", size), 0o644)], {}
            ),
            directory,
            Compression.GZIP,
        )
        for number in range(layers)
    ]
    first = as_layer(made[0])
    base = image_of_layer(
        first.descriptor, first.diff_id, lambda digest: (directory / digest.hex).open("rb"), LINUX
    )
    additions = [Addition(layer=as_layer(each), created_by="a test") for each in made[1:]]
    return append(base, additions, RunConfig(labels={"made-by": "a test"}))


def foreign_tar(members: Iterable[tuple[str, str | bytes | None]], **changes: object) -> bytes:
    """A tar stream by the standard library, which writes what we refuse to write.

    Args:
        members: Name, and bytes of a file, target of a symbolic link, or None for a directory.
        changes: Attributes that each member gets.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mtime, member.mode = 315532801, 0o644
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, content, 0o777
            else:
                member.size = len(content)
            for key, value in changes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def plain_layer(data: bytes) -> Layer:
    """A layer of any bytes, uncompressed and in memory."""
    digest = Digest.of(data)
    descriptor = Descriptor(media_type=OCI_LAYER_TAR, digest=digest, size=len(data))
    return Layer(descriptor=descriptor, diff_id=digest, open=lambda: io.BytesIO(data))


def image_of(*layers: Layer) -> Image:
    """An image of these layers, for Linux."""
    first, *others = layers
    base = image_of_layer(first.descriptor, first.diff_id, lambda digest: first.open(), LINUX)
    return append(base, [Addition(layer=each, created_by="a test") for each in others], RunConfig())


def bytes_of(layer: Layer) -> bytes:
    """The blob of a layer."""
    with layer.open() as blob:
        return blob.read()


def without_blobs(image: Image, digests: Mapping[Digest, bytes] | None = None) -> Image:
    """The image, whose layers have other bytes, or cannot be opened at all."""

    def opener(layer: Layer) -> Layer:
        if digests is None:
            return replace(layer, open=_forbidden)
        data = digests.get(layer.descriptor.digest)
        return layer if data is None else replace(layer, open=lambda: io.BytesIO(data))

    return replace(image, layers=tuple(opener(layer) for layer in image.layers))


def _forbidden() -> io.BytesIO:
    raise AssertionError("nobody may open this layer")
