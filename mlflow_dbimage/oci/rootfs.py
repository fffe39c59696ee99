"""Images of one layer, made from a tarball of a root file system."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import Compression, damage_of, opened_tar
from mlflow_dbimage.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import CONSTANT_TIME, Image, Layer, canonical_json
from mlflow_dbimage.oci.layer import LayerSink, new_layer
from mlflow_dbimage.oci.verified import EndingStream

_CHUNK = 1 << 20
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def rootfs_image(path: Path, platform: Platform, directory: Path, compression: Compression) -> Image:
    """Make an image of a tarball (plain, gzip, zstd or xz); the tar stream itself stays as it is.

    Args:
        path: Of the tarball.
        platform: That its programs are for.
        directory: Where the layer's blob is written, under its digest.
        compression: Of the layer.

    Raises:
        InputError: `base-invalid`, it is no tar archive, a damaged one, or has nothing in it.
        OSError: The tarball cannot be read, or the disk is full.
    """
    with new_layer(directory, compression) as sink:
        with damage_of(f"the root file system `{path}`"), opened_tar(path) as stream:
            _copy(stream, sink, path)
        written = sink.finish()
    return image_of_layer(
        written.descriptor,
        written.diff_id,
        lambda wanted: (directory / wanted.hex).open("rb"),
        platform,
    )


def image_of_layer(
    descriptor: Descriptor,
    diff_id: Digest,
    open_blob: Callable[[Digest], BinaryIO],
    platform: Platform,
) -> Image:
    """Return the image that has one layer and nothing to run but a shell."""
    config = canonical_json(
        {
            "created": CONSTANT_TIME,
            "os": platform.os,
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
            "config": {"Env": [_PATH], "Cmd": ["bash"]},
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
            "history": [{"created": CONSTANT_TIME, "created_by": "root file system"}],
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size=len(config)).to_dict(),
            "layers": [descriptor.to_dict()],
        }
    )
    layer = Layer(descriptor=descriptor, diff_id=diff_id, open=lambda: open_blob(descriptor.digest))
    return Image(manifest=manifest, media_type=OCI_MANIFEST, config=config, layers=(layer,))


def _copy(stream: BinaryIO, sink: LayerSink, path: Path) -> None:
    """Pass a tar stream on as `tarfile` reads it, so that what it cannot read is refused."""
    passed = _Passing(stream, sink)
    with tarfile.open(fileobj=passed, mode="r|") as archive:
        for member in archive:
            sink.file_count += member.isfile()
            archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header
        if archive.offset == 0:
            raise InputError("base-invalid", f"the root file system `{path}` is empty")
        while passed.read(_CHUNK):
            pass


class _Passing(EndingStream):
    """A stream that writes what is read from it to a sink."""

    def __init__(self, source: BinaryIO, sink: LayerSink) -> None:
        self._source = source
        self._sink = sink

    def readinto(self, buffer: Any, /) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self._sink.write(data)
        return self._told(len(data))
