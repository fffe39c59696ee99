"""Roots of images, unpacked and kept between checks: versions of a model differ in their model's layers alone.

A root holds what all layers but the model's unpack to, under their diff IDs. It is never written to: checks see it
read-only, and see the model's own files, which are unpacked for each check, at their place in it. Before it is
used again, size, time and kind of each of its files are held against those that it had: what was changed is
dropped and unpacked anew. Roots of other users of the cache are not for us: they are closed, and may be anything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.build_cache import BuildCache, cache_key, scratch_directory, write_aside
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.cache_parts import STATE_FILE, delete, held
from mlflow_dbimage.errors import VerificationError, disk_errors
from mlflow_dbimage.model_layers import MODEL_PATH
from mlflow_dbimage.oci.image import Image, Layer

_PART = "roots"
#: Raised when what a kept root is changes.
_FORMAT = 1
_MOST_KEPT = 4
#: Bytes that stay free on the cache's disk; where they are not, nothing is kept.
_LEAST_FREE = 8 << 30
# Where checks mount something of their own.
_PLACES = ("proc", "dev", "tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The files of an image, for as long as a check runs. Nobody writes to them."""

    path: Path
    """All but the model's; the folders where something is to be mounted are there."""
    model: Path | None
    """The model's own, to be seen at `MODEL_PATH`; None where they are in `path` or there are none."""


class KeptRoots:
    """The roots of a cache.

    Args:
        cache: The cache.
    """

    def __init__(self, cache: BuildCache) -> None:
        self._cache = cache

    @contextmanager
    def opened(self, image: Image, first: int = 0) -> Iterator[Root]:
        """Give the root of an image.

        Args:
            image: The image.
            first: The lowest layer that is needed, counted from 0 at the bottom.

        Raises:
            ServiceError: `disk-failed`.
            VerificationError: `digest-mismatch` or `image-invalid`, a layer is not what it should be.
        """
        shared, own = _parted(image)
        with disk_errors(), ExitStack() as stack:
            model = None
            if own:
                scratch = stack.enter_context(self._scratch())
                model = _unpacked_model(own, scratch)
            path = None if model is None else stack.enter_context(self._kept(shared, first))
            if path is None:
                path = stack.enter_context(self._scratch())
                _unpack(shared[first:], path)
                if model is not None:
                    _make_folder(path, MODEL_PATH[1:])
            yield Root(path=path, model=model)

    @contextmanager
    def _kept(self, layers: Sequence[Layer], first: int) -> Iterator[Path | None]:
        """Hold a root that is kept, or give None where none can be: no room, or a changed one in use."""
        place = self._place(layers)
        if not _is_ours(place):  # the whole root does for a part of it, too
            layers = layers[first:]
            place = self._place(layers)
        with ExitStack() as holding:
            with self._cache.lock(f"root-{place.name[:32]}"):
                there = _is_intact(place) or self._make(layers, place)
                try:
                    if there:
                        holding.enter_context(held(place, alone=False))
                except FileNotFoundError:  # another build made room, or somebody pruned, a moment ago
                    there = False
            yield place / "root" if there else None

    def _place(self, layers: Sequence[Layer]) -> Path:
        key = cache_key(_PART, _FORMAT, os.getuid(), *(str(layer.diff_id) for layer in layers))
        return self._cache.directory(_PART) / key

    def _make(self, layers: Sequence[Layer], place: Path) -> bool:
        """Unpack a root that is to be kept; say whether that was possible."""
        if os.path.lexists(place) and not delete(place):
            return False
        self._make_room()
        if shutil.disk_usage(place.parent).free < _LEAST_FREE:
            return False
        with self._scratch() as aside:
            (aside / "root").mkdir()
            _unpack(layers, aside / "root")
            _make_folder(aside / "root", MODEL_PATH[1:])
            write_aside(aside / STATE_FILE, _state(aside / "root").encode())
            aside.rename(place)
        return True

    def _make_room(self) -> None:
        """Drop those that were not used for longest, but for those that a check holds."""
        places = sorted(filter(_is_ours, self._cache.directory(_PART).iterdir()), key=_last_used)
        for place in places[: max(0, len(places) - _MOST_KEPT + 1)]:
            delete(place)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with scratch_directory(self._cache.directory("work")) as path:
            yield path


def _parted(image: Image) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Part the layers that versions of a model share from the model's own, which are the last."""
    record = ImageRecord.from_labels(image.labels)
    own = 0
    if record is not None and len(record.layers) <= len(image.layers):
        kinds = [layer.kind for layer in record.layers]
        own = next((count for count, kind in enumerate(reversed(kinds)) if kind != "model"), len(kinds))
    cut = len(image.layers) - own
    return image.layers[:cut], image.layers[cut:]


def _unpack(layers: Sequence[Layer], root: Path) -> None:
    for layer in layers:
        unpack_layer(layer, root, leave_out_devices=True)
    for name in _PLACES:
        _make_folder(root, name)


def _make_folder(root: Path, name: str) -> None:
    place = root
    for part in name.split("/"):
        place /= part
        if place.is_symlink() or not place.is_dir():
            place.unlink(missing_ok=True)
            place.mkdir()


def _unpacked_model(layers: Sequence[Layer], folder: Path) -> Path:
    """Unpack a model's layers, which have nothing but the model."""
    for layer in layers:
        unpack_layer(layer, folder)
    place = folder
    for part in MODEL_PATH[1:].split("/"):
        inside = set(os.listdir(place))
        place /= part
        if inside != {part} or place.is_symlink() or not place.is_dir():
            strange = min(inside - {part}, default=part)
            raise VerificationError(
                "image-invalid", f"the layers of the model have `{strange}` outside `{MODEL_PATH}`, or no model"
            )
    return place


def _is_ours(place: Path) -> bool:
    try:
        return place.stat(follow_symlinks=False).st_uid == os.getuid()
    except FileNotFoundError:
        return False


def _is_intact(place: Path) -> bool:
    try:
        return _is_ours(place) and (place / STATE_FILE).read_text() == _state(place / "root")
    except OSError:
        return False


def _state(root: Path) -> str:
    """Digest what the system says of each file: it cannot be changed without another time of change."""
    digest = hashlib.sha256()
    folders = [str(root)]
    while folders:
        with os.scandir(folders.pop()) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            facts = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            digest.update(f"{entry.path[len(str(root)) :]}\0{facts}\n".encode("utf-8", "surrogateescape"))
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    return digest.hexdigest()


def _last_used(place: Path) -> float:
    try:
        return (place / STATE_FILE).stat().st_mtime
    except OSError:
        return 0.0
