"""Single files of an image, read from its layers: what an upper layer has or hides counts."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layer_members import visit

_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """A file of an image."""

    data: bytes
    mode: int
    uid: int
    gid: int


def read_files(image: Image, paths: Collection[str], largest: int = _LARGEST) -> dict[str, ImageFile]:
    """Read some files of an image, by path relative to its root; those that it lacks are left out.

    Links are not followed.

    Args:
        image: The image.
        paths: Of the files.
        largest: Most bytes of a file; 16 MB unless more are known to be needed.

    Raises:
        InputError: `base-invalid`, a layer is broken, or a file is larger.
        VerificationError: `digest-mismatch`, from reading a layer.
    """
    found: dict[str, ImageFile] = {}
    wanted = set(paths)
    for layer in reversed(image.layers):
        if not wanted:
            break
        look = _Look(layer, wanted, largest)
        visit(layer, look)
        found |= look.found
        wanted -= look.found.keys() | look.hidden
    return found


class _Look:
    """Takes the wanted files of a layer, and notes which of lower layers it hides (`layer_members.Visitor`)."""

    def __init__(self, layer: Layer, wanted: set[str], largest: int) -> None:
        self.found: dict[str, ImageFile] = {}
        self.hidden: set[str] = set()
        self._layer = layer
        self._wanted = wanted
        self._largest = largest

    def hide(self, path: str) -> None:
        self.hidden |= {each for each in self._wanted if each == path or each.startswith(f"{path}/")}

    def hide_inside(self, folder: str) -> None:
        self.hidden |= {each for each in self._wanted if not folder or each.startswith(f"{folder}/")}

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        if member.isdir():
            self.hidden |= {path} & self._wanted
            return
        self.hide(path)
        if path in self._wanted and member.isreg():
            if member.size > self._largest:
                what = f"the layer {self._layer.descriptor.digest}"
                raise InputError("base-invalid", f"{what} has `{path}` with {member.size:,} bytes")
            mode = member.mode & 0o7777
            self.found[path] = ImageFile(data=read(), mode=mode, uid=member.uid, gid=member.gid)
