"""The caches of this machine, and behind them what other machines have left in the registry of the images.

What makes a build of a known environment cheap are a few small records: what the base holds, the lock that some
inputs gave, the layers of an environment. A machine that has none of them finds them beside the images, and lets
the registry take the layers from there. What was found so is never kept in this machine's own caches: it is
somebody else's word, asked for anew by each build, and told in its receipt.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.environment_layers import NOT_LOADED, NOT_RUN
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.layer_facts import KIND as FACTS
from mlflow_dbimage.layer_facts import facts_key
from mlflow_dbimage.layer_parts import KIND as PARTS
from mlflow_dbimage.layer_parts import OF_BASES as BASE_PARTS
from mlflow_dbimage.layer_parts import part_key
from mlflow_dbimage.model_layers import AddedLayer
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, canonical_json
from mlflow_dbimage.oci.parallel import in_parallel
from mlflow_dbimage.shared_checks import NOT_LOADED_THERE, check
from mlflow_dbimage.whiteout_check import REMAINS

_VERSION = 1
_WORKERS = 4
_Record = tuple[str, str]
#: By the kind that is asked for: what it is called in the registry and by people, and what may come with it.
_BASE, _LOCK, _ENVIRONMENT = "inventories", "locks", "environments"
_NAMES = {_BASE: "base", _LOCK: "lock", _ENVIRONMENT: "environment"}
_TITLES = {_BASE: "what the base holds", _LOCK: "the lock", _ENVIRONMENT: "the environment's layers"}
_OF_BASE = ("cluster-pythons", "base-distributions", BASE_PARTS)
_COMPANIONS = {_BASE: _OF_BASE, _LOCK: (), _ENVIRONMENT: (FACTS, PARTS, REMAINS)}
_SHARED = frozenset({*_NAMES, FACTS, PARTS, REMAINS, *_OF_BASE})
_KEY = re.compile(r"[0-9a-f]{64}")


class RecordShelf(Protocol):
    """Where records are left for other machines."""

    @property
    def place(self) -> str:
        """What it is called: `host/repository`."""

    def has(self, name: str) -> bool:
        """Whether there is a record of that name."""

    def read(self, name: str) -> bytes | None:
        """Return what a record holds; None where there is none. Raises `ValueError` for what is no record."""

    def write(self, name: str, data: bytes, layers: Sequence[Descriptor], deployment: str) -> bool:
        """Write a record and keep layers of a deployment with it; return whether that could be done."""

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which layers are not kept there."""

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """Open a layer that is kept there."""


class SharedCache(BuildCache):
    """A cache folder with a shelf behind it.

    Args:
        root: The folder.
        shelf: Where records of other machines are; None where there is no such place.
        renew: Whether to look at none of them, nor at this machine's locks from before, and to put what is made
            in their place.
        most: As for `BuildCache`.
    """

    def __init__(
        self, root: Path, shelf: RecordShelf | None = None, *, renew: bool = False, most: int | None = None
    ) -> None:
        super().__init__(root, most)
        self._shelf = shelf
        self._renew = renew
        self._asked: set[_Record] = set()
        self._used: dict[_Record, dict[str, Any]] = {}
        self._others: dict[_Record, dict[str, Any]] = {}
        self._told: dict[_Record, int] = {}  # how many records came with one
        self._stale: set[_Record] = set()
        self._lent: dict[Digest, Descriptor] = {}

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what was recorded here, or else by another machine; None where neither is."""
        if self._renew and kind == _LOCK and (kind, key) not in self._used:
            return None
        found = super().record(kind, key)
        if found is None:
            found = self._of_others(kind, key)
        if found is not None and kind in _SHARED:
            self._used[kind, key] = found
        return found

    def put_record(self, kind: str, key: str, content: Mapping[str, Any]) -> None:
        """Record a JSON object here; in the place of another machine's, which was of no use."""
        super().put_record(kind, key, content)
        if self._others.pop((kind, key), None) is not None:
            self._stale.add((kind, key))
        if kind in _SHARED:
            self._used[kind, key] = json.loads(json.dumps(content))

    def lacking(self, blobs: Iterable[Descriptor], missing: Iterable[Digest]) -> set[Digest]:
        """Return which layers neither the destination nor the shelf has.

        Args:
            blobs: The layers.
            missing: Those that the destination lacks.
        """
        wanted = set(missing)
        asked = tuple(blob for blob in blobs if blob.digest in wanted)
        if not asked or self._shelf is None or self._renew:
            return wanted
        try:
            lacked = self._shelf.missing(asked)
        except DbimageError:
            return wanted  # a shelf that fails is as good as an empty one
        self._lent.update({blob.digest: blob for blob in asked if blob.digest not in lacked})
        return lacked

    def lends(self, digest: Digest) -> bool:
        """Whether the shelf has a layer that the destination lacks."""
        return digest in self._lent

    def open_lent(self, digest: Digest) -> BinaryIO:
        """Open a layer that the shelf `lends`."""
        assert self._shelf is not None, "nothing is lent by nobody"
        return self._shelf.open_blob(self._lent[digest])

    def with_origins(self, image: Image) -> Image:
        """Say of each layer that the shelf lends where it is, so that the registry can take it from there."""
        if not self._lent or self._shelf is None:
            return image
        place = self._shelf.place
        layers = (
            replace(layer, origin=place) if layer.descriptor.digest in self._lent else layer
            for layer in image.layers
        )
        return replace(image, layers=tuple(layers))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a build was told by other machines."""
        if self._shelf is None:
            return ()
        told = " and ".join(dict.fromkeys(_TITLES[each[0]] for each in self._told if each in self._others))
        return (f"{told}: as another machine left it in `{self._shelf.place}`",) if told else ()

    def share(self, deployment: str) -> tuple[str, ...]:
        """Leave what a build used for other machines, where nobody has; return notes on what could not be.

        Args:
            deployment: The name under which its image is in the registry of the shelf.
        """
        if self._shelf is None:
            return ()
        try:
            records = tuple(self._to_share())
            left = in_parallel(lambda record: self._left(record, deployment), records, _WORKERS, threading.Event())
        except (DbimageError, OSError) as error:
            why = error.message if isinstance(error, DbimageError) else str(error)
            return (f"nothing is left for other machines in `{self._shelf.place}`: {why.splitlines()[0]}",)
        if not all(left):
            return (f"nothing is left for other machines: `{self._shelf.place}` takes no layers from elsewhere",)
        return ()

    def _of_others(self, kind: str, key: str) -> dict[str, Any] | None:
        record = (kind, key)
        if kind in _NAMES and record not in self._asked and self._shelf is not None and not self._renew:
            self._asked.add(record)
            self._ask(record, self._shelf)
        return self._others.get(record)

    def _ask(self, record: _Record, shelf: RecordShelf) -> None:
        try:
            data = shelf.read(_name(record))
            found = {} if data is None else read_records(data, *record)
        except ValueError:
            self._stale.add(record)
            return
        except DbimageError as error:
            if error.code in ("base-invalid", "digest-mismatch"):
                self._stale.add(record)
            return
        if found:
            self._told[record] = len(found)
            self._others.update(found)

    def _to_share(self) -> Iterator[_Record]:
        for record, content in self._used.items():
            if record[0] in _NAMES and _is_whole(record[0], content):
                yield record

    def _left(self, record: _Record, deployment: str) -> bool:
        """Leave one record with what belongs to it, and return whether it is there now."""
        assert self._shelf is not None, "asked for by `share`, which has one"
        known = {**self._others, **self._used}
        kept = [record, *(each for each in self._companions(record, known) if each in known)]
        anew = self._renew or record in self._stale
        if not anew and len(kept) <= self._told.get(record, 0):
            return True
        if not anew and record not in self._told and self._shelf.has(_name(record)):
            return True
        contents = [(*each, _shared(each[0], known[each])) for each in kept]
        data = canonical_json({"version": _VERSION, "records": contents})
        return self._shelf.write(_name(record), data, _layers(record[0], self._used[record]), deployment)

    def _companions(self, record: _Record, known: Iterable[_Record]) -> Iterator[_Record]:
        kind, content = record[0], self._used[record]
        if kind == _BASE:
            yield from (each for each in known if each[0] in _OF_BASE)
        if kind == _ENVIRONMENT:
            yield from (each for each in known if each[0] == REMAINS)
            for added in (AddedLayer.from_dict(each) for each in content["layers"]):
                yield FACTS, facts_key(added.descriptor.digest, added.diff_id)
                yield PARTS, part_key(added.descriptor.digest, added.diff_id)


def read_records(data: bytes, kind: str, key: str) -> dict[_Record, dict[str, Any]]:
    """Read what another machine left, the record that was asked for among it.

    Raises:
        ValueError: It is something else, or a record has not the form of its kind.
    """
    document = read_json(data)
    try:
        if document["version"] != _VERSION:
            raise ValueError(f"records of version {document['version']!r:.20}")
        found = {(each[0], each[1]): each[2] for each in document["records"]}
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not records: {error}") from None
    if (kind, key) not in found:
        raise ValueError(f"no record of {kind} with that key")
    for (other, other_key), content in found.items():
        named = other in _COMPANIONS[kind] or (other, other_key) == (kind, key)
        if not named or not isinstance(other_key, str) or _KEY.fullmatch(other_key) is None:
            raise ValueError(f"a record that does not belong to {kind}")
        if not isinstance(content, dict):
            raise ValueError(f"not a record of {kind}")
        check(other, content)
    return found


def _name(record: _Record) -> str:
    return f"{_NAMES[record[0]]}-{record[1][:32]}"


def _is_whole(kind: str, content: Mapping[str, Any]) -> bool:
    """Whether others would make the same: no environment without byte code, where the processor is another."""
    return kind != _ENVIRONMENT or not any(note.startswith(NOT_RUN) for note in content["notes"])


def _shared(kind: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what others may read of a record: not what the code of a model said on this machine."""
    if kind != _ENVIRONMENT:
        return content
    failed = any(note.startswith(NOT_LOADED) or note == NOT_LOADED_THERE for note in content["notes"])
    return {**content, "notes": [NOT_LOADED_THERE] if failed else []}


def _layers(kind: str, content: Mapping[str, Any]) -> tuple[Descriptor, ...]:
    if kind != _ENVIRONMENT:
        return ()
    unique = {layer.descriptor.digest: layer.descriptor for layer in map(AddedLayer.from_dict, content["layers"])}
    return tuple(unique.values())
