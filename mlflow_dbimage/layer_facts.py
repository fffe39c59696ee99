"""What a layer of ours holds, as far as it can be wrong: a function of it, read once and kept under its digest."""

from __future__ import annotations

import io
import re
import struct
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO, cast

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.cluster_roots import root_part
from mlflow_dbimage.layer_parts import keep_part
from mlflow_dbimage.model_layers import LOCK_PATH
from mlflow_dbimage.oci import validate
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.layer_members import Both
from mlflow_dbimage.oci.layer_part import LayerPart
from mlflow_dbimage.oci.parallel import in_parallel, threads_that_compute
from mlflow_dbimage.packed_env import IMAGE_PREFIX
from mlflow_dbimage.secret_patterns import secrets_in

#: Raised when what is read of a layer, or what counts as wrong, changes.
_FORMAT = 3
KIND = "layer-facts"

_SMALL = 1 << 20
_OURS = ("opt/dbimage/",)
_NOT_OURS = (f"{IMAGE_PREFIX[1:]}/",)
_BYTECODE = re.compile(r"(?:(.*)/)?__pycache__/([^/]+)\.cpython-(\d+)(?:\.opt-\d)?\.pyc")
#: The magic number of each Python's byte code, as released (CPython, `Include/internal/pycore_magic_number.h`).
_MAGIC = {
    "37": 3394,
    "38": 3413,
    "39": 3425,
    "310": 3439,
    "311": 3495,
    "312": 3531,
    "313": 3571,
    "314": 3627,
}
_HEADER = struct.Struct("<H2sIII")
# Where the path of an interpreter is too long for the kernel, installers start the script by the shell.
_BY_SHELL = re.compile(rb"\A#![^\n]*/sh\n'''exec' [\"']?(/[^\"'\s]+)")
_INTERPRETER = re.compile(rb"\A#!\s*(/\S+)")
_OTHERS_READ, _OTHERS_ENTER = 0o4, 0o5


class LookInterruptedError(Exception):
    """Nobody wants to know any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """What a layer does and holds. Paths have no slash at either end."""

    problems: tuple[str, ...] = ()
    """What breaks the rules of layers; where there is some, nothing else was looked at."""
    closed: tuple[str, ...] = ()
    """Files and folders that a user whom the image does not know cannot read."""
    stale: tuple[str, ...] = ()
    """What is wrong with byte code beside its source."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Programs that are texts, and the absolute path of what runs them."""
    secrets: tuple[str, ...] = ()
    """What looks like a secret, where."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links, and where they lead."""
    programs: tuple[str, ...] = ()
    """Files that may be run."""
    hidden: tuple[str, ...] = ()
    """What whiteouts take from the layers below."""
    has_part: bool = False
    """Whether it has anything that clusters look at: layers of a model have not."""


def facts_of(
    layers: Sequence[Layer],
    cache: BuildCache,
    stop: threading.Event,
    report: Callable[[int], None] = lambda size: None,
) -> tuple[LayerFacts, ...]:
    """Return the facts of layers that we made, from the cache or from their bytes: several at once.

    Args:
        layers: The layers.
        cache: Where facts are kept.
        stop: When it is set, reading ends in `LookInterruptedError`.
        report: Called, in any thread, with the stored bytes of each layer as it is done.

    Raises:
        DbimageError: What opening a layer raises.
    """
    keys = [facts_key(layer.descriptor.digest, layer.diff_id) for layer in layers]
    records = {key: cache.record(KIND, key) for key in keys}
    facts = {key: _from_record(record) for key, record in records.items() if record is not None}
    unknown = {key: layer for key, layer in zip(keys, layers, strict=True) if key not in facts}

    def read(key: str) -> tuple[LayerFacts, LayerPart]:
        found = _read(unknown[key], stop)
        report(unknown[key].descriptor.size)
        return found

    report(sum(layer.descriptor.size for layer in layers) - sum(each.descriptor.size for each in unknown.values()))
    largest_first = sorted(unknown, key=lambda key: -unknown[key].descriptor.size)
    reading = in_parallel(read, largest_first, threads_that_compute(), stop)
    for key, (found, part) in zip(largest_first, reading, strict=True):
        if found.has_part:
            keep_part(unknown[key], part, cache)
        cache.put_record(KIND, key, asdict(found))
        facts[key] = found
    return tuple(facts[key] for key in keys)


def facts_key(digest: Digest, diff_id: Digest) -> str:
    """Return the key under which the facts of a layer are kept."""
    return cache_key(KIND, _FORMAT, str(digest), str(diff_id))


def _from_record(record: Mapping[str, Any]) -> LayerFacts:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    return LayerFacts(**values)


def _read(layer: Layer, stop: threading.Event) -> tuple[LayerFacts, LayerPart]:
    look, noted = _Look(), root_part.recorder()
    problems = validate.layer_problems(replace(layer, open=lambda: _opened(layer, stop)), Both(look, noted))
    if problems:
        return LayerFacts(problems=problems), LayerPart()
    part = noted.part()
    return replace(look.facts(), has_part=bool(part.entries)), part


def _opened(layer: Layer, stop: threading.Event) -> BinaryIO:
    return cast(BinaryIO, _StoppableBlob(layer.open(), stop))


class _StoppableBlob(io.RawIOBase):
    """A blob of which nobody reads more when all shall end: a model may have many gigabytes."""

    def __init__(self, blob: BinaryIO, stop: threading.Event) -> None:
        self._blob = blob
        self._stop = stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._stop.is_set():
            raise LookInterruptedError
        data = self._blob.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._blob.close()
        super().close()


class _Look:
    """Notes what the members of a layer say (`oci.layer_members.Visitor`)."""

    def __init__(self) -> None:
        self._closed: list[str] = []
        self._stale: list[str] = []
        self._scripts: dict[str, str] = {}
        self._secrets: list[str] = []
        self._links: dict[str, str] = {}
        self._programs: list[str] = []
        self._hidden: list[str] = []
        self._sources: dict[str, tuple[int, int]] = {}
        self._bytecode: dict[str, bytes] = {}

    def hide(self, path: str) -> None:
        self._hidden.append(path)

    def hide_inside(self, folder: str) -> None:
        self._hidden.append(f"{folder}/")

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        if member.issym():
            self._links[path] = member.linkname
        elif (member.isreg() or member.islnk()) and member.mode & 0o111:
            self._programs.append(path)
        needed = _OTHERS_ENTER if member.isdir() else _OTHERS_READ
        if not member.issym() and member.mode & needed != needed:
            self._closed.append(path)
        if not member.isreg():
            return
        if path.endswith(".py"):
            self._sources[path] = (int(member.mtime), member.size)
        if _BYTECODE.fullmatch(path):
            self._bytecode[path] = read()[: _HEADER.size]
        elif member.size <= _SMALL and member.mode & 0o111 and _folder_name(path) == "bin":
            self._look_at_program(path, read())
        elif member.size <= _SMALL and _is_ours(path):
            self._secrets += [f"{kind} in `/{path}`" for kind in secrets_in(read())]

    def _look_at_program(self, path: str, data: bytes) -> None:
        match = _BY_SHELL.match(data) or _INTERPRETER.match(data)
        if match is not None:
            self._scripts[path] = match[1].decode(errors="replace")

    def facts(self) -> LayerFacts:
        for path, header in sorted(self._bytecode.items()):
            fault = _fault_of(path, header, self._sources.get(_source_of(path)))
            if fault is not None:
                self._stale.append(fault)
        return LayerFacts(
            closed=tuple(self._closed),
            stale=tuple(self._stale),
            scripts=self._scripts,
            secrets=tuple(self._secrets),
            links=self._links,
            programs=tuple(self._programs),
            hidden=tuple(self._hidden),
        )


def _is_ours(path: str) -> bool:
    return path.startswith(_OURS) and (not path.startswith(_NOT_OURS) or path.startswith(LOCK_PATH[1:]))


def _folder_name(path: str) -> str:
    return path.rpartition("/")[0].rpartition("/")[2]


def _source_of(bytecode: str) -> str:
    match = _BYTECODE.fullmatch(bytecode)
    assert match is not None, "only byte code is asked for"
    return f"{match[1]}/{match[2]}.py" if match[1] else f"{match[2]}.py"


def _fault_of(path: str, header: bytes, source: tuple[int, int] | None) -> str | None:
    """Say why Python would not use byte code, or would although its source is another (PEP 552)."""
    match = _BYTECODE.fullmatch(path)
    assert match is not None, "only byte code is asked for"
    if len(header) < _HEADER.size:
        return f"`/{path}` is cut off"
    magic, _, flags, time, size = _HEADER.unpack(header)
    known = _MAGIC.get(match[3])
    if known is not None and magic != known:
        return f"`/{path}` is byte code of another Python (magic number {magic}, not {known})"
    if flags != 0 or source is None:  # by the digest of the source, which is not for us to recompute
        return None
    if (time, size) != (source[0] & 0xFFFFFFFF, source[1] & 0xFFFFFFFF):
        return f"`/{path}` was compiled from another source than the one beside it"
    return None
