"""Unpacks layers into a folder, trusting nothing that they say.

Paths that leave the folder, or that lead through a symbolic link, are refused, and so are devices. Whiteouts
remove what lower layers brought. Owners are left out, modes keep their permission bits, times are kept (byte
code is valid for its source's time).
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from contextlib import suppress
from pathlib import Path

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.compression import damage_of, open_decompressed
from mlflow_dbimage.oci.disk_room import must_fit
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.tar_members import OpenContent, TarMembers

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CHUNK = 1 << 20


def unpack_layer(layer: Layer, root: Path, *, leave_out_devices: bool = False) -> None:
    """Unpack a layer over what is in a folder.

    Args:
        layer: The layer.
        root: The folder.
        leave_out_devices: Whether devices and pipes, which layers of operating systems have, are left out; else
            they are refused.

    Raises:
        VerificationError: `digest-mismatch`, it does not have its diff ID; `image-invalid`, it has a path or a
            kind of file that it may not have.
        InputError: `base-invalid`, it is no archive.
        ServiceError: `disk-failed`, it has a file for which there is no room.
    """
    unpacking = _Unpacking(root, leave_out_devices)
    with layer.open() as blob, damage_of(f"the layer {layer.descriptor.digest}"):
        members = TarMembers(open_decompressed(blob, layer.descriptor.media_type))
        try:
            for member, content in members:
                unpacking.add(member, content)
        except (NotADirectoryError, FileExistsError) as error:
            raise VerificationError(
                "image-invalid", f"a layer has `{error.filename}` as file and folder"
            ) from error
    if members.digest != layer.diff_id:
        raise VerificationError(
            "digest-mismatch", f"a layer has the diff ID {members.digest}, not {layer.diff_id}"
        )


def place_in(root: Path, path: str) -> Path | None:
    """Return the place of a path in a folder to which layers were unpacked; None where a link is on its way.

    Links of an image mean its own root, and lead anywhere from this one.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        return None
    place = root
    for part in parts:
        place = place / part
        if place.is_symlink():
            return None
    return place


class _Unpacking:
    """One layer on its way into a folder."""

    def __init__(self, root: Path, leave_out_devices: bool) -> None:
        self._root = str(root)
        self._leave_out_devices = leave_out_devices
        self._made: set[str] = set()
        # Folders that are there and that no link leads to: looking at each for each file costs more than the file.
        self._folders: set[str] = set()

    def add(self, member: tarfile.TarInfo, content: OpenContent) -> None:
        path = self._path(member.name)
        if path == self._root:
            return
        folder, name = os.path.split(path)
        if name == _OPAQUE:
            self._empty(folder)
        elif name.startswith(_WHITEOUT):
            self._remove(os.path.join(folder, _whited_out(name)))
        else:
            self._make(member, content, path)
            self._made.add(path)

    def _make(self, member: tarfile.TarInfo, content: OpenContent, path: str) -> None:
        folder = os.path.dirname(path)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        mode = stat.S_IMODE(member.mode) & 0o777
        if member.isdir():
            if os.path.islink(path) or not os.path.isdir(path):
                self._remove(path)
                os.mkdir(path)
            os.chmod(path, mode | 0o700)  # ours to fill, and to remove one day
            return
        self._remove(path)
        if member.issym():
            if not member.linkname or "\0" in member.linkname:
                raise VerificationError(
                    "image-invalid", f"`{member.name}` in a layer is a link that leads nowhere"
                )
            os.symlink(member.linkname, path)
        elif member.islnk():
            _link(path, self._path(member.linkname))
        elif member.isfile():
            must_fit(member.size, self._root, f"`{member.name}` in a layer")
            _write(member, content, path, mode)
        elif not self._leave_out_devices:
            raise VerificationError("image-invalid", f"`{member.name}` in a layer is a device or a pipe")

    def _path(self, name: str) -> str:
        """Return the place of a name, which no link on its way leads elsewhere."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise VerificationError("image-invalid", f"the path `{name}` in a layer leaves its folder")
        folder = "/".join((self._root, *parts[:-1]))
        if folder not in self._folders:
            above = self._root
            for part in parts[:-1]:
                above = f"{above}/{part}"
                if os.path.islink(above):
                    raise VerificationError("image-invalid", f"the path `{name}` in a layer leads through a link")
        return f"{folder}/{parts[-1]}" if parts else self._root

    def _empty(self, folder: str) -> None:
        """Remove what lower layers brought into a folder."""
        if os.path.islink(folder) or not os.path.isdir(folder):
            return
        for child in list(os.scandir(folder)):
            if child.path not in self._made:
                self._remove(child.path)
            elif child.is_dir(follow_symlinks=False):
                self._empty(child.path)

    def _remove(self, path: str) -> None:
        if os.path.islink(path) or not os.path.isdir(path):
            with suppress(FileNotFoundError):
                os.unlink(path)
        else:
            shutil.rmtree(path)
            self._folders.clear()


def _whited_out(name: str) -> str:
    hidden = name[len(_WHITEOUT) :]
    if hidden in ("", ".", ".."):
        raise VerificationError("image-invalid", f"the whiteout `{name}` in a layer names no file")
    return hidden


def _link(path: str, source: str) -> None:
    if os.path.islink(source) or not os.path.isfile(source):
        raise VerificationError("image-invalid", f"`{os.path.basename(path)}` in a layer links to nothing")
    os.link(source, path, follow_symlinks=False)


def _write(member: tarfile.TarInfo, content: OpenContent, path: str, mode: int) -> None:
    with content() as source, open(path, "xb") as out:
        shutil.copyfileobj(source, out, _CHUNK)
        os.fchmod(out.fileno(), mode | 0o600)
    os.utime(path, (member.mtime, member.mtime))
