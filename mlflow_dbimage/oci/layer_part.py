"""Part of what a layer does to a root, noted while the layer is read, and small enough to be kept.

Which paths are noted is decided by paths alone, and so the same in every layer: what the parts of all layers make
(`root_listing.stacked`) is then what the layers make, as far as those paths go.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.oci.layer_members import relative_path

#: Of larger files the content is not kept.
MOST_TEXT = 16 << 20

#: What is done: a path of the layers below is hidden, a folder of them emptied, or a path is shown.
HIDDEN, EMPTIED, FILE, LINKED, FOLDER, SYMLINK, OTHER = "-", "/", "file", "hard", "directory", "symlink", "other"
KINDS = frozenset({HIDDEN, EMPTIED, FILE, LINKED, FOLDER, SYMLINK, OTHER})

#: Kind, path without a slash at either end, permission bits, where a link leads, and what was kept of a file.
Entry = tuple[str, str, int, str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPart:
    """What a layer hides and shows."""

    entries: tuple[Entry, ...] = ()
    """In the order of the layer."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form; of a text what is no UTF-8 is lost."""
        return {
            "entries": [
                [kind, path, mode, link, None if text is None else text.decode(errors="replace")]
                for kind, path, mode, link, text in self.entries
            ]
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerPart:
        """Read the JSON form.

        Raises:
            ValueError, KeyError, TypeError or AttributeError: It is something else.
        """
        return cls(
            entries=tuple(
                (kind, path, mode, link, None if text is None else text.encode())
                for kind, path, mode, link, text in data["entries"]
            )
        )


class PartRecorder:
    """Notes part of a layer (`oci.layer_members.Visitor`).

    Args:
        is_listed: Says of a path, and whether it is a folder, if it is noted.
        is_wanted: Says of which files the content is looked at.
        excerpt: Returns what is kept of a file, by path and content.
    """

    def __init__(
        self,
        is_listed: Callable[[str, bool], bool],
        is_wanted: Callable[[str], bool],
        excerpt: Callable[[str, bytes], bytes],
    ) -> None:
        self._is_listed = is_listed
        self._is_wanted = is_wanted
        self._excerpt = excerpt
        self._entries: list[Entry] = []
        self._folders: set[str] = set()  # that are there by now

    def hide(self, path: str) -> None:
        """Note that a path of the layers below is hidden."""
        if self._is_listed(path, True) or self._is_listed(path, False):
            self._entries.append((HIDDEN, path, 0, "", None))

    def hide_inside(self, folder: str) -> None:
        """Note that what lies in a folder of the layers below is hidden."""
        self._entries.append((EMPTIED, folder, 0, "", None))

    def see(self, path: str, member: tarfile.TarInfo, read: Callable[[], bytes]) -> None:
        """Note a member, if it is listed, and what is to be kept of its content."""
        if not self._is_listed(path, member.isdir()):
            self._imply(path.rpartition("/")[0])
            return
        if member.isdir():
            self._know(path)
        elif path in self._folders:
            self._folders.clear()
        text = None
        if member.isreg() and not member.issparse() and member.size <= MOST_TEXT and self._is_wanted(path):
            text = self._excerpt(path, read())
        self._entries.append((self._kind(member), path, member.mode & 0o7777, member.linkname, text))

    def _imply(self, folder: str) -> None:
        """Note the folder of what is not listed, where nothing else says that it is there."""
        if folder in self._folders:
            return
        listed = folder
        while listed and not self._is_listed(listed, True):
            listed = listed.rpartition("/")[0]
        if listed and listed not in self._folders:
            self._entries.append((FOLDER, listed, 0o755, "", None))
        self._know(folder)

    def _know(self, folder: str) -> None:
        while folder and folder not in self._folders:
            self._folders.add(folder)
            folder = folder.rpartition("/")[0]

    def _kind(self, member: tarfile.TarInfo) -> str:
        if member.islnk():
            # A file whose content decides nothing may be linked to one that is not noted.
            return LINKED if self._is_listed(relative_path(member.linkname), False) else FILE
        if member.isdir():
            return FOLDER
        if member.issym():
            return SYMLINK
        return FILE if member.isreg() else OTHER

    def part(self) -> LayerPart:
        """Return what was noted."""
        return LayerPart(entries=tuple(self._entries))
