"""The members of a layer, told one after the other as its stream is read: nothing is unpacked, nothing kept.

Source: OCI image specification 1.1, layer.md, "Applying Changesets" and "Whiteouts".
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import Protocol

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import damage_of, open_decompressed
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.tar_members import OpenContent, TarMembers

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


class Both:
    """Tells two visitors, so that a layer is read once for both.

    Args:
        first: Is told first.
        second: Is told second; what the first one read of a file is not read again.
    """

    def __init__(self, first: Visitor, second: Visitor) -> None:
        self._visitors = (first, second)

    def hide(self, path: str) -> None:
        """Tell both."""
        for each in self._visitors:
            each.hide(path)

    def hide_inside(self, folder: str) -> None:
        """Tell both."""
        for each in self._visitors:
            each.hide_inside(folder)

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        """Tell both."""
        kept: list[bytes] = []  # a stream gives the content of a member but once

        def once() -> bytes:
            if not kept:
                kept.append(read())
            return kept[0]

        for each in self._visitors:
            each.see(path, member, once)


def read_layer(layer: Layer, what: str, look: Callable[[tarfile.TarInfo, OpenContent], None]) -> Digest:
    """Read a layer to its end, and return the digest of its archive, which its diff ID should be.

    Args:
        layer: The layer.
        what: It is called, in messages.
        look: Called with each member, and what opens the content of a regular file, to be read at once.

    Raises:
        InputError: `base-invalid`, the layer is no tar archive, or damaged.
        VerificationError: `digest-mismatch`, from opening and reading it.
    """
    with damage_of(what), layer.open() as blob:
        members = TarMembers(open_decompressed(blob, layer.descriptor.media_type))
        for member, content in members:
            look(member, content)
    return members.digest


def visit(layer: Layer, visitor: Visitor) -> None:
    """Read a layer to its end; its diff ID is verified.

    Raises:
        InputError: `base-invalid`, the layer is no tar archive, another one than the config says, or has paths
            that leave the root.
        VerificationError: `digest-mismatch`, from opening and reading it.
    """
    what = f"the layer {layer.descriptor.digest} of the base image"
    found = read_layer(layer, what, lambda member, content: tell(visitor, member, content))
    if found != layer.diff_id:
        raise InputError("base-invalid", f"{what} has the diff ID {found}, not {layer.diff_id}")


def relative_path(name: str) -> str:
    """Write the name of a member as a path from the root, without a slash at either end; empty for the root.

    Raises:
        InputError: `base-invalid`, it leaves the root.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise InputError("base-invalid", f"a layer of the base image has the path `{name}`, outside its root")
    return "/".join(parts)


def tell(visitor: Visitor, member: tarfile.TarInfo, content: OpenContent) -> None:
    """Tell a visitor of one member of a layer.

    Args:
        visitor: Whom.
        member: What the archive says of it.
        content: Opens the content of a regular file.

    Raises:
        InputError: As `relative_path`.
    """
    path = relative_path(member.name)
    folder, slash, name = path.rpartition("/")
    if path == "":
        return
    if name == _OPAQUE:
        visitor.hide_inside(folder)
    elif name.startswith(_WHITEOUT):
        visitor.hide(f"{folder}{slash}{name[len(_WHITEOUT) :]}")
    else:
        visitor.see(path, member, lambda: content().read())
