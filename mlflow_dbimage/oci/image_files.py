"""Single files of an image, read from its layers: what an upper layer has or hides counts."""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from dataclasses import dataclass

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import damage_of, open_decompressed
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.verified import DigestingStream

_OPAQUE = ".wh..wh..opq"
_WHITEOUT = ".wh."
_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """A file of an image."""

    data: bytes
    mode: int
    uid: int
    gid: int


def read_files(image: Image, paths: Collection[str]) -> dict[str, ImageFile]:
    """Read some small files of an image, by path relative to its root; those that it lacks are left out.

    Links are not followed.

    Raises:
        InputError: `base-invalid`, a layer is broken, or a file is larger than 16 MB.
    """
    found: dict[str, ImageFile] = {}
    wanted = set(paths)
    for layer in reversed(image.layers):
        if not wanted:
            break
        there, hidden = _of_layer(layer, wanted)
        found |= there
        wanted -= there.keys() | hidden
    return found


def _of_layer(layer: Layer, wanted: set[str]) -> tuple[dict[str, ImageFile], set[str]]:
    """Return what one layer has of the wanted files, and which of them it hides."""
    found: dict[str, ImageFile] = {}
    hidden: set[str] = set()
    what = f"the layer {layer.descriptor.digest} of the base image"
    with damage_of(what), layer.open() as blob:
        plain = DigestingStream(open_decompressed(blob, layer.descriptor.media_type))
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header of a layer
                path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
                hidden |= _hidden_by(path, member, wanted)
                if path in wanted and member.isreg():
                    found[path] = _file(archive, member, what)
        plain.drain()
    if plain.digest != layer.diff_id:
        raise InputError("base-invalid", f"{what} has the diff ID {plain.digest}, not {layer.diff_id}")
    return found, hidden


def _hidden_by(path: str, member: tarfile.TarInfo, wanted: set[str]) -> set[str]:
    """Return the wanted files of lower layers that a member hides: by a whiteout, or standing in their way."""
    folder, slash, name = path.rpartition("/")
    if name == _OPAQUE:
        return {each for each in wanted if each.startswith(f"{folder}{slash}")}
    if name.startswith(_WHITEOUT):
        gone = f"{folder}{slash}{name[len(_WHITEOUT) :]}"
        return {each for each in wanted if each == gone or each.startswith(f"{gone}/")}
    if member.isdir():
        return {path} & wanted
    return {each for each in wanted if each == path or each.startswith(f"{path}/")}


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo, what: str) -> ImageFile:
    if member.size > _LARGEST:
        raise InputError("base-invalid", f"{what} has `{member.name}` with {member.size:,} bytes")
    stream = archive.extractfile(member)
    assert stream is not None, "it is a file"
    return ImageFile(data=stream.read(), mode=member.mode & 0o7777, uid=member.uid, gid=member.gid)
