"""Two images held against each other: the first thing that differs, by layer, path and field.

Layers come before the documents that name them: a file that differs changes the config, the record in its labels
and the manifest too, and is the reason.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO, Any

from mlflow_dbimage.build_receipt import RECORD_LABEL, LayerRecord
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layer_members import read_layer
from mlflow_dbimage.oci.tar_members import OpenContent

_CHUNK = 1 << 20
_ABSENT = object()
_LONGEST = 120

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What a layer says of one path."""

    kind: str
    """`file`, `directory`, `link`, `hard link` or `other`."""
    mode: str
    """Permission bits, octal."""
    owner: str
    """uid and gid."""
    time: str
    """Of the last change, in seconds since 1970."""
    link: str = ""
    """What a link leads to."""
    size: int = 0
    """In bytes."""
    content: str = ""
    """sha256 of a file."""


# A file of another kind or length has another content, too: the plainer word comes first.
_FIELDS = ("kind", "link", "size", "content", "mode", "owner", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first thing in which two images differ."""

    part: str
    """`layer 3 (model: model)`, `base layer 0`, `config` or `manifest`."""
    path: str | None
    """Of a file in a layer, relative to the root, or of a property of a document; None where it is the whole."""
    field: str
    """What of it: a field of `Member`, `file`, `value`, `digest`, `archive`, `layer` or `kinds`."""
    theirs: str
    """In the image."""
    ours: str
    """In the image as it was built again."""

    def __str__(self) -> str:
        place = self.part if self.path is None else f"{self.part}, `{self.path}`"
        return f"{place}: the {self.field} is {_short(self.theirs)}, and {_short(self.ours)} when built again"

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "part": self.part,
            "path": self.path,
            "field": self.field,
            "theirs": self.theirs,
            "ours": self.ours,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two images."""

    image: Image
    base_layers: int
    """How many of its layers, from the bottom, are the base's."""
    layers: Sequence[LayerRecord]
    """What its record says of the others."""


def compare(theirs: Side, ours: Side, *, compressed: bool) -> Difference | None:
    """Return the first difference of two images, or None.

    Args:
        theirs: The image.
        ours: The same, built again.
        compressed: Whether compressed bytes should be the same; else only diff IDs and what is no digest of
            compressed bytes are compared.

    Raises:
        InputError: `base-invalid`, a layer is damaged.
        VerificationError: `digest-mismatch`, a layer has not the digest or the diff ID that its image says.
    """
    if theirs.image.manifest == ours.image.manifest:
        return None
    return next(_differences(theirs, ours, compressed), None)


def compare_members(theirs: Mapping[str, Member], ours: Mapping[str, Member]) -> tuple[str, str, str, str] | None:
    """Return path, field and both values of the first difference of two layers, in the order of the paths."""
    for path in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(path), ours.get(path)
        if one is None or other is None:
            return path, "file", _presence(one), _presence(other)
        for field in _FIELDS:
            if getattr(one, field) != getattr(other, field):
                return path, field, _text(getattr(one, field)), _text(getattr(other, field))
    return None


def compare_documents(theirs: Any, ours: Any, path: str = "") -> tuple[str, str, str] | None:
    """Return the path of the first value that differs in two JSON documents, and both values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = sorted(theirs.keys() | ours.keys())
        found = (
            compare_documents(theirs.get(key, _ABSENT), ours.get(key, _ABSENT), f"{path}.{key}".lstrip("."))
            for key in keys
        )
        return next((each for each in found if each is not None), None)
    if isinstance(theirs, list) and isinstance(ours, list):
        pairs = enumerate(zip_longest(theirs, ours, fillvalue=_ABSENT))
        found = (compare_documents(one, other, f"{path}[{at}]") for at, (one, other) in pairs)
        return next((each for each in found if each is not None), None)
    # In JSON `true` is not 1, as it is in Python.
    same = theirs == ours and isinstance(theirs, bool) == isinstance(ours, bool)
    return None if same else (path, _text(theirs), _text(ours))


def read_members(layer: Layer) -> dict[str, Member]:
    """Read what a layer says of each of its paths.

    Raises:
        InputError: `base-invalid`, it is damaged.
        VerificationError: `digest-mismatch`, it has not its digest or its diff ID.
    """
    members: dict[str, Member] = {}

    def look(info: tarfile.TarInfo, content: OpenContent) -> None:
        members[info.name] = _member(info, content() if info.isreg() else None)

    what = f"the layer {layer.descriptor.digest}"
    found = read_layer(layer, what, look)
    if found != layer.diff_id:
        raise VerificationError(
            "digest-mismatch", f"{what} has the diff ID {found}, and its image says {layer.diff_id}"
        )
    return members


def _differences(theirs: Side, ours: Side, compressed: bool) -> Iterator[Difference]:
    kinds = [", ".join(each.kind for each in side.layers) for side in (theirs, ours)]
    if kinds[0] != kinds[1]:
        yield Difference(part="record", path="layers", field="kinds", theirs=kinds[0], ours=kinds[1])
    for at, (one, other) in enumerate(zip_longest(theirs.image.layers, ours.image.layers)):
        yield from _of_layers(_name(at, ours), one, other, compressed)
    yield from _of_documents("config", *(_config(side.image, compressed) for side in (theirs, ours)))
    if compressed:
        yield from _of_documents("manifest", *(_manifest(side.image) for side in (theirs, ours)))
        bytes_of = [str(side.image.digest) for side in (theirs, ours)]
        yield Difference(part="manifest", path=None, field="digest", theirs=bytes_of[0], ours=bytes_of[1])


def _of_layers(part: str, one: Layer | None, other: Layer | None, compressed: bool) -> Iterator[Difference]:
    if one is None or other is None:
        yield Difference(part=part, path=None, field="layer", theirs=_digest(one), ours=_digest(other))
    elif one.diff_id != other.diff_id:
        found = compare_members(read_members(one), read_members(other))
        path, field, theirs, ours = found or (None, "archive", str(one.diff_id), str(other.diff_id))
        yield Difference(part=part, path=path, field=field, theirs=theirs, ours=ours)
    elif compressed and one.descriptor.digest != other.descriptor.digest:
        yield Difference(part=part, path=None, field="digest", theirs=_digest(one), ours=_digest(other))


def _of_documents(part: str, theirs: Any, ours: Any) -> Iterator[Difference]:
    found = compare_documents(theirs, ours)
    if found is not None:
        path, one, other = found
        yield Difference(part=part, path=path, field="value", theirs=one, ours=other)


def _name(at: int, side: Side) -> str:
    if at < side.base_layers:
        return f"base layer {at}"
    own = at - side.base_layers
    if own >= len(side.layers):
        return f"layer {at}"
    record = side.layers[own]
    said = ": ".join([record.kind, *([", ".join(record.contents)] if record.contents else [])])
    return f"layer {at} ({said})"


def _config(image: Image, compressed: bool) -> dict[str, Any]:
    """Return the config with its record as a document of its own, and without what compression decides."""
    config: dict[str, Any] = read_json(image.config)
    labels = dict((config.get("config") or {}).get("Labels") or {})
    if RECORD_LABEL in labels:
        labels[RECORD_LABEL] = _record(labels[RECORD_LABEL], compressed)
        config["config"] = {**config["config"], "Labels": labels}
    return config


def _manifest(image: Image) -> dict[str, Any]:
    manifest: dict[str, Any] = read_json(image.manifest)
    return manifest


def _record(text: str, compressed: bool) -> Any:
    record = read_json(text)
    if compressed:
        return record
    layers = [{key: each[key] for key in each if key not in ("digest", "size")} for each in record["layers"]]
    return {**{key: record[key] for key in record if key != "compressor"}, "layers": layers}


def _member(info: tarfile.TarInfo, stream: IO[bytes] | None) -> Member:
    return Member(
        kind=_KINDS.get(info.type, "other"),
        mode=f"{info.mode & 0o7777:04o}",
        owner=f"{info.uid}:{info.gid}",
        time=str(info.mtime),
        link=info.linkname if info.issym() or info.islnk() else "",
        size=info.size if stream is not None else 0,
        content="" if stream is None else _hash(stream),
    )


def _hash(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _presence(member: Member | None) -> str:
    return "missing" if member is None else f"a {member.kind}"


def _digest(layer: Layer | None) -> str:
    return "missing" if layer is None else str(layer.descriptor.digest)


def _text(value: object) -> str:
    return "missing" if value is _ABSENT else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
