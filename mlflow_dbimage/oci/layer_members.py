"""The members of a layer, told one after the other as its stream is read: nothing is unpacked, nothing kept.

Source: OCI image specification 1.1, layer.md, "Applying Changesets" and "Whiteouts".
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import Protocol

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import damage_of, open_decompressed
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.verified import DigestingStream

_OPAQUE = ".wh..wh..opq"
_WHITEOUT = ".wh."


class Visitor(Protocol):
    """Is told what a layer does; its whiteouts speak of the layers below alone, wherever they stand."""

    def hide(self, path: str) -> None:
        """Take note that a path of the layers below, and what lies below it, is hidden."""

    def hide_inside(self, folder: str) -> None:
        """Take note that what lies below a folder is hidden; all, for the empty path."""

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        """Look at a file, link, directory or device.

        Args:
            path: Its own, as `relative_path` writes it.
            member: What the archive says of it.
            read: Gives the content of a regular file, if called at once.
        """


def visit(layer: Layer, visitor: Visitor) -> None:
    """Read a layer to its end; its diff ID is verified.

    Raises:
        InputError: `base-invalid`, the layer is no tar archive, another one than the config says, or has paths
            that leave the root.
        VerificationError: `digest-mismatch`, from opening and reading it.
    """
    what = f"the layer {layer.descriptor.digest} of the base image"
    with damage_of(what), layer.open() as blob:
        plain = DigestingStream(open_decompressed(blob, layer.descriptor.media_type))
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                _tell(archive, member, visitor)
                archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header of a layer
        plain.drain()
    if plain.digest != layer.diff_id:
        raise InputError("base-invalid", f"{what} has the diff ID {plain.digest}, not {layer.diff_id}")


def relative_path(name: str) -> str:
    """Write the name of a member as a path from the root, without a slash at either end; empty for the root.

    Raises:
        InputError: `base-invalid`, it leaves the root.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise InputError("base-invalid", f"a layer of the base image has the path `{name}`, outside its root")
    return "/".join(parts)


def _tell(archive: tarfile.TarFile, member: tarfile.TarInfo, visitor: Visitor) -> None:
    path = relative_path(member.name)
    folder, slash, name = path.rpartition("/")
    if path == "":
        return
    if name == _OPAQUE:
        visitor.hide_inside(folder)
    elif name.startswith(_WHITEOUT):
        visitor.hide(f"{folder}{slash}{name[len(_WHITEOUT) :]}")
    else:
        visitor.see(path, member, lambda: _content(archive, member))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None, "it is a file"
    return stream.read()
