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
from pathlib import Path
from typing import BinaryIO, cast

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.compression import damage_of, open_decompressed
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.verified import DigestingStream

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
    """
    unpacking = _Unpacking(root, leave_out_devices)
    with layer.open() as blob, damage_of(f"the layer {layer.descriptor.digest}"):
        stream = DigestingStream(open_decompressed(blob, layer.descriptor.media_type))
        try:
            with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|") as archive:
                for member in archive:
                    unpacking.add(archive, member)
            stream.drain()
        except (NotADirectoryError, FileExistsError) as error:
            raise VerificationError(
                "image-invalid", f"a layer has `{error.filename}` as file and folder"
            ) from error
    if stream.digest != layer.diff_id:
        raise VerificationError("digest-mismatch", f"a layer has the diff ID {stream.digest}, not {layer.diff_id}")


class _Unpacking:
    """One layer on its way into a folder."""

    def __init__(self, root: Path, leave_out_devices: bool) -> None:
        self._root = root
        self._leave_out_devices = leave_out_devices
        self._made: set[Path] = set()

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._path(member.name)
        if path == self._root:
            return
        name = path.name
        if name == _OPAQUE:
            self._empty(path.parent)
        elif name.startswith(_WHITEOUT):
            _remove(self._whited_out(path))
        else:
            self._make(archive, member, path)
            self._made.add(path)

    def _whited_out(self, path: Path) -> Path:
        name = path.name[len(_WHITEOUT) :]
        if name in ("", ".", ".."):
            raise VerificationError("image-invalid", f"the whiteout `{path.name}` in a layer names no file")
        return path.with_name(name)

    def _make(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(member.mode) & 0o777
        if member.isdir():
            if path.is_symlink() or not path.is_dir():
                _remove(path)
                path.mkdir()
            path.chmod(mode | 0o700)  # ours to fill, and to remove one day
            return
        _remove(path)
        if member.issym():
            path.symlink_to(member.linkname)
        elif member.islnk():
            self._link(path, self._path(member.linkname))
        elif member.isfile():
            _write(archive, member, path, mode)
        elif not self._leave_out_devices:
            raise VerificationError("image-invalid", f"`{member.name}` in a layer is a device or a pipe")

    def _link(self, path: Path, source: Path) -> None:
        if source.is_symlink() or not source.is_file():
            raise VerificationError("image-invalid", f"`{path.name}` in a layer links to nothing")
        os.link(source, path, follow_symlinks=False)

    def _path(self, name: str) -> Path:
        """Return the place of a name, which no link on its way leads elsewhere."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise VerificationError("image-invalid", f"the path `{name}` in a layer leaves its folder")
        path = self._root
        for part in parts[:-1]:
            path = path / part
            if path.is_symlink():
                raise VerificationError("image-invalid", f"the path `{name}` in a layer leads through a link")
        return self._root.joinpath(*parts)

    def _empty(self, folder: Path) -> None:
        """Remove what lower layers brought into a folder."""
        if folder.is_symlink() or not folder.is_dir():
            return
        for child in folder.iterdir():
            if child in self._made and child.is_dir() and not child.is_symlink():
                self._empty(child)
            elif child not in self._made:
                _remove(child)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, mode: int) -> None:
    source = archive.extractfile(member)
    assert source is not None, "it is a file"
    with source, path.open("xb") as out:
        shutil.copyfileobj(source, out, _CHUNK)
    path.chmod(mode | 0o600)
    os.utime(path, (member.mtime, member.mtime))


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
