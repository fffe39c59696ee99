"""Every path of an image's root, and the content of the small files that a caller wants: read, never unpacked.

The layers are read once, oldest first, as streams, and their whiteouts are honoured. `inventory` keeps less, for
callers who only lay layers on top.
"""

from __future__ import annotations

import base64
import enum
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci import layer_part
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layer_members import relative_path, visit
from mlflow_dbimage.oci.layer_part import MOST_TEXT, LayerPart

#: Linux's own limit for one lookup (`MAXSYMLINKS`).
_MOST_LINKS = 40
# A listing takes about this many bytes for each path, besides its characters; and may take so many in all.
_COST_OF_PATH = 700
_MOST_MEMORY = 1 << 30


class NodeKind(enum.Enum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"
    """A device or pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is at a path."""

    kind: NodeKind
    mode: int
    """Permission bits."""
    uid: int = 0
    gid: int = 0
    size: int = 0
    """Bytes of a file."""
    link: str = ""
    """Target of a symbolic link, as it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootListing:
    """The root file system that the layers of an image make. Paths have no slash at either end."""

    nodes: Mapping[str, Node]
    """All paths; a folder that no layer has an entry for is there with the mode 0755."""
    texts: Mapping[str, bytes]
    """Content of the files that were wanted, by path; not of those larger than `MOST_TEXT`."""
    _folders: dict[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        folders: dict[str, list[str]] = {}
        for path in sorted(self.nodes):
            folder, _, name = path.rpartition("/")
            folders.setdefault(folder, []).append(name)
        object.__setattr__(self, "_folders", {folder: tuple(names) for folder, names in folders.items()})

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted; none if it is no folder. Links are not followed."""
        return self._folders.get(folder, ())

    def resolve(self, path: str) -> str | None:
        """Follow all links of a path as a process in the image would: `usr/bin/python3.11` for `bin/python3`.

        None if it leads nowhere, or in a circle. The root is the empty path, and has no node.
        """
        waiting = list(reversed(path.split("/")))
        done: list[str] = []
        followed = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done[:-1]
                continue
            node = self.nodes.get("/".join([*done, name]))
            if node is None or (waiting and node.kind not in (NodeKind.DIRECTORY, NodeKind.SYMLINK)):
                return None
            if node.kind is not NodeKind.SYMLINK:
                done.append(name)
                continue
            followed += 1
            if followed > _MOST_LINKS:
                return None
            done = [] if node.link.startswith("/") else done
            waiting.extend(reversed(node.link.split("/")))
        return "/".join(done)

    def find(self, path: str) -> Node | None:
        """Return what is at a path, its links followed."""
        place = self.resolve(path)
        return None if place is None else self.nodes.get(place)

    def text(self, path: str) -> str | None:
        """Return the text at a path, its links followed; None if it is not there, or was not kept."""
        place = self.resolve(path)
        data = None if place is None else self.texts.get(place)
        return None if data is None else data.decode(errors="replace")

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "nodes": {
                path: [node.kind.value, node.mode, node.uid, node.gid, node.size, node.link]
                for path, node in self.nodes.items()
            },
            "texts": {path: base64.b64encode(data).decode() for path, data in self.texts.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RootListing:
        """Read the JSON form."""
        return cls(
            nodes={
                path: Node(kind=NodeKind(kind), mode=mode, uid=uid, gid=gid, size=size, link=link)
                for path, (kind, mode, uid, gid, size, link) in data["nodes"].items()
            },
            texts={path: base64.b64decode(text) for path, text in data["texts"].items()},
        )


def read_listing(
    image: Image, wanted_texts: Callable[[str], bool], report: Callable[[int], None] = lambda size: None
) -> RootListing:
    """Read all layers of an image; the diff ID of each is verified.

    Args:
        image: Whose layers are opened once each.
        wanted_texts: Says, by its path, of which files the content is kept. It is asked for the place where a
            file really is; a hard link has the content that its target had.
        report: Called with the stored bytes of each layer that is done.

    Raises:
        InputError: `base-invalid`, a layer is no tar archive, another one than the config says, has paths that
            leave the root or a hard link to nothing, or there are too many paths.
        VerificationError: `digest-mismatch`, from opening and reading a layer.
    """
    stack = _Stack()
    for layer in image.layers:
        stack.lay(partial(visit, layer), wanted_texts)
        report(layer.descriptor.size)
    return stack.listing()


def stacked(parts: Iterable[LayerPart]) -> RootListing:
    """Return the root that parts of layers make, the lowest first: of paths that were not noted it has nothing.

    Raises:
        InputError: `base-invalid`, as `read_listing`.
    """
    stack = _Stack()
    for part in parts:
        stack.lay(lambda look, part=part: look.take(part), lambda path: False)  # type: ignore[misc]
    return stack.listing()


class _Stack:
    """The layers so far."""

    def __init__(self) -> None:
        self._room = _Room()
        self._lower = _Tree(self._room)

    def lay(self, tell: Callable[[_Look], None], wanted_texts: Callable[[str], bool]) -> None:
        own = _Tree(self._room)
        tell(_Look(own, self._lower, wanted_texts, self._room))
        own.put_on(self._lower)

    def listing(self) -> RootListing:
        return RootListing(nodes=dict(self._lower.walk()), texts=self._lower.texts())


class _Room:
    """What is left of the memory that a listing may take: a hostile image must not take the machine's."""

    def __init__(self) -> None:
        self._left = _MOST_MEMORY

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise InputError(
                "base-invalid",
                f"the image has more paths than can be listed: they take more than {_MOST_MEMORY >> 20} MiB",
            )


@dataclass(slots=True)
class _Place:
    """A path while the layers are read: what is there, and what lies below it."""

    node: Node | None = None
    """None of a folder for which this layer has no entry."""
    text: bytes | None = None
    inside: dict[str, _Place] = field(default_factory=dict)


class _Tree:
    """The paths of one layer, or of those below it."""

    def __init__(self, room: _Room) -> None:
        self.root = _Place()
        self._room = room

    def get(self, path: str) -> _Place | None:
        place: _Place | None = self.root
        for name in path.split("/") if path else ():
            place = None if place is None else place.inside.get(name)
        return place

    def make(self, path: str) -> _Place:
        """Return the place of a path; what is no folder above it gives way, as in Docker's overlays."""
        place = self.root
        for name in path.split("/"):
            if not _is_folder(place):
                place.node = place.text = None
            if name not in place.inside:
                self._room.take(_COST_OF_PATH + len(path))
                place.inside[name] = _Place()
            place = place.inside[name]
        return place

    def forget(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        place = self.get(folder)
        if place is not None:
            place.inside.pop(name, None)

    def put_on(self, lower: _Tree) -> None:
        """Lay this layer's paths over those below: a folder is joined with a folder, all else replaces."""
        _join(self.root, lower.root)

    def walk(self) -> Iterator[tuple[str, Node]]:
        return ((path, place.node or _IMPLIED) for path, place in _below(self.root, ""))

    def texts(self) -> dict[str, bytes]:
        return {path: place.text for path, place in _below(self.root, "") if place.text is not None}


_IMPLIED = Node(kind=NodeKind.DIRECTORY, mode=0o755)


def _join(upper: _Place, lower: _Place) -> None:
    waiting = [(upper, lower)]
    while waiting:
        above, below = waiting.pop()
        for name, place in above.inside.items():
            under = below.inside.get(name)
            if under is None or not (_is_folder(place) and _is_folder(under)):
                below.inside[name] = place
                continue
            under.node = place.node or under.node
            waiting.append((place, under))


def _is_folder(place: _Place) -> bool:
    return place.node is None or place.node.kind is NodeKind.DIRECTORY


def _below(place: _Place, path: str) -> Iterator[tuple[str, _Place]]:
    waiting = [(path, place)]
    while waiting:
        folder, at = waiting.pop()
        for name, inner in at.inside.items():
            below = f"{folder}/{name}" if folder else name
            yield below, inner
            waiting.append((below, inner))


class _Look:
    """Puts what a layer shows into its own tree, and takes what it hides from the layers below."""

    def __init__(self, own: _Tree, lower: _Tree, wanted: Callable[[str], bool], room: _Room) -> None:
        self._own = own
        self._lower = lower
        self._wanted = wanted
        self._room = room

    def hide(self, path: str) -> None:
        self._lower.forget(path)

    def hide_inside(self, folder: str) -> None:
        place = self._lower.get(folder)
        if place is not None:
            place.inside.clear()

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        linked = member.islnk()
        self._put(path, self._linked(path, member.linkname) if linked else self._seen(path, member, read))

    def take(self, part: LayerPart) -> None:
        for kind, path, mode, link, text in part.entries:
            if kind == layer_part.HIDDEN:
                self.hide(path)
            elif kind == layer_part.EMPTIED:
                self.hide_inside(path)
            elif kind == layer_part.LINKED:
                self._put(path, self._linked(path, link))
            else:
                self._room.take(len(link) + len(text or b""))
                node = Node(kind=NodeKind(kind), mode=mode, size=len(text or b""), link=link)
                self._put(path, _Place(node=node, text=text))

    def _put(self, path: str, seen: _Place) -> None:
        place = self._own.make(path)
        place.node, place.text = seen.node, seen.text
        if not _is_folder(place):
            place.inside = {}
            self._lower.forget(path)

    def _seen(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> _Place:
        self._room.take(len(member.linkname))
        wanted = member.isreg() and not member.issparse() and member.size <= MOST_TEXT and self._wanted(path)
        if not wanted:
            return _Place(node=_node(member))
        self._room.take(member.size)
        return _Place(node=_node(member), text=read())

    def _linked(self, path: str, link: str) -> _Place:
        target = relative_path(link)
        found = self._own.get(target) or self._lower.get(target)
        if found is None or _is_folder(found):
            raise InputError(
                "base-invalid", f"a layer of the base image links `{path}` to `{target}`, which is no file"
            )
        return replace(found, inside={})


def _node(member: tarfile.TarInfo) -> Node:
    kind = NodeKind.OTHER
    if member.isdir():
        kind = NodeKind.DIRECTORY
    elif member.issym():
        kind = NodeKind.SYMLINK
    elif member.isreg():
        kind = NodeKind.FILE
    return Node(
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        size=member.size if kind is NodeKind.FILE else 0,
        link=member.linkname if kind is NodeKind.SYMLINK else "",
    )
