"""Whether an environment that is laid over its base's hides what it should: nothing of a distribution that went.

For `overlay` and `cluster`, where the base has an environment at the same place. What the base's distributions own
is read once and kept by the base's layers; of our layers only those of the environment are read.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from packaging.utils import canonicalize_name

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layer_members import visit
from mlflow_dbimage.oci.root_listing import NodeKind, read_listing

_FORMAT = 1
_KIND = "base-distributions"
#: What was found, by the layers that it was found in.
REMAINS = "remains"
_METADATA = re.compile(r"(?:.*/)?(?:conda-meta/([^/]+)\.json|([^/]+)\.dist-info/RECORD)")
_BYTECODE = re.compile(r"(.*/)__pycache__/([^/]+?)\.[^/.]+(?:\.opt-\d)?\.pyc")
_OWN_KINDS = ("whiteouts", "environment", "launcher")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distributions:
    """What is at an environment's place, and whose it is. Paths have no slash at either end."""

    files: frozenset[str] = frozenset()
    owned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the file that describes a distribution: the files that it says to have."""


def remains(image: Image, record: ImageRecord, cache: BuildCache) -> tuple[str, ...]:
    """Tell what of the base's distributions is visible and should not be; a line each, sorted.

    Raises:
        InputError: `base-invalid`, a layer of the base cannot be read.
        DbimageError: What opening layers raises.
    """
    if record.env_layout not in ("overlay", "cluster"):
        return ()
    prefix = f"{record.environment_prefix.strip('/')}/"
    added = zip(record.layers, image.layers[record.base_layers :], strict=True)
    layers = [layer for described, layer in added if described.kind in _OWN_KINDS]
    ids = [[str(each.diff_id) for each in some] for some in (image.layers[: record.base_layers], layers)]
    key = cache_key(REMAINS, _FORMAT, prefix, *ids)
    kept = cache.record(REMAINS, key)
    if kept is None:
        own = _Look(prefix)
        for layer in layers:
            visit(layer, own)
        kept = {"lines": sorted(_remains(_of_base(image, record, prefix, cache), own))}
        cache.put_record(REMAINS, key, kept)
    return tuple(kept["lines"])


def _remains(base: Distributions, own: _Look) -> Iterator[str]:
    visible = {path for path in base.files if not own.covers(path)}
    kept = {path: files for path, files in base.owned.items() if path in visible}
    wanted = {file for files in (*kept.values(), *own.owned.values()) for file in files}
    names = {_name(path): path for path in own.owned}
    for path in kept:
        if _name(path) in names:
            yield f"`/{path}` of the base is visible beside `/{names[_name(path)]}`"
    for path, files in base.owned.items():
        left = sorted(file for file in files if file in visible and file not in wanted and path not in kept)
        if left:
            yield f"`/{left[0]}` is left of {_title(path)}, which is no longer there"
    for path in visible:
        source = _source(path)
        if source is not None and source in own.seen:
            yield f"`/{path}` of the base is byte code of a source that was replaced"


def _of_base(image: Image, record: ImageRecord, prefix: str, cache: BuildCache) -> Distributions:
    layers = image.layers[: record.base_layers]
    key = cache_key(_KIND, _FORMAT, prefix, *(str(layer.diff_id) for layer in layers))
    kept = cache.record(_KIND, key)
    if kept is None:
        listing = read_listing(replace(image, layers=layers), lambda path: _is_metadata(path, prefix))
        files = [
            path
            for path, node in listing.nodes.items()
            if path.startswith(prefix) and node.kind is not NodeKind.DIRECTORY
        ]
        owned = {path: list(_owned(path, data, prefix)) for path, data in listing.texts.items()}
        kept = {"files": sorted(files), "owned": owned}
        cache.put_record(_KIND, key, kept)
    return Distributions(
        files=frozenset(kept["files"]), owned={path: tuple(files) for path, files in kept["owned"].items()}
    )


class _Look:
    """Notes what our layers show and hide at the environment's place (`oci.layer_members.Visitor`)."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._hidden: set[str] = set()
        self.seen: set[str] = set()
        self.owned: dict[str, tuple[str, ...]] = {}

    def hide(self, path: str) -> None:
        self._hidden.add(path)

    def hide_inside(self, folder: str) -> None:
        self._hidden.add(folder)

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        if member.isdir() or not path.startswith(self._prefix):
            return
        self.seen.add(path)
        if member.isreg() and _is_metadata(path, self._prefix):
            self.owned[path] = tuple(_owned(path, read(), self._prefix))

    def covers(self, path: str) -> bool:
        """Whether a path of the base is hidden or replaced."""
        return path in self.seen or any(each in self._hidden for each in (path, *_folders(path)))


def _folders(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path


def _is_metadata(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and _METADATA.fullmatch(path) is not None


def _owned(path: str, data: bytes, prefix: str) -> Iterator[str]:
    """Read the files of a distribution: conda's record of a package, or a wheel's `RECORD`."""
    text = data.decode(errors="replace")
    if path.endswith(".json"):
        try:
            files = read_json(text)["files"]
        except (ValueError, KeyError, TypeError):
            return
        yield from (f"{prefix}{file}" for file in files if isinstance(file, str))
        return
    folder = posixpath.dirname(posixpath.dirname(path))
    for line in text.splitlines():
        name = line.rsplit(",", 2)[0].strip('"')
        if name:
            yield posixpath.normpath(posixpath.join(folder, name))


def _title(path: str) -> str:
    match = _METADATA.fullmatch(path)
    assert match is not None, "only descriptions of distributions are asked for"
    return f"`{match[1] or match[2]}`"


def _name(path: str) -> tuple[str, str]:
    """Return which distribution a file describes, whatever its version."""
    match = _METADATA.fullmatch(path)
    assert match is not None, "only descriptions of distributions are asked for"
    if match[1]:
        return "conda", match[1].rsplit("-", 2)[0]
    return "pip", canonicalize_name(match[2].rsplit("-", 1)[0])


def _source(path: str) -> str | None:
    match = _BYTECODE.fullmatch(path)
    return f"{match[1]}{match[2]}.py" if match else None
