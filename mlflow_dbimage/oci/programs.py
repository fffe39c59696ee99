"""What may be run in a root file system, and the links that lead there, as layers are laid over each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

#: Linux's own limit for one lookup (`MAXSYMLINKS`).
_MOST_LINKS = 40


class ShownPrograms(Protocol):
    """What a layer does to the programs of a root. Paths have no slash at either end."""

    @property
    def programs(self) -> Collection[str]:
        """Files that may be run."""

    @property
    def links(self) -> Mapping[str, str]:
        """Symbolic links, and where they lead."""

    @property
    def hidden(self) -> Collection[str]:
        """What it takes from the layers below; with a slash at the end, what lies in a folder."""


class Programs:
    """The programs of a root, which grows.

    Args:
        programs: Files that may be run.
        links: Symbolic links, and where they lead.
    """

    def __init__(self, programs: Iterable[str] = (), links: Mapping[str, str] | None = None) -> None:
        self.programs = set(programs)
        self.links = dict(links or {})

    def lay(self, layer: ShownPrograms) -> None:
        """Lay a layer over all that there is."""
        hidden = frozenset(layer.hidden)
        if hidden:
            self.programs = {path for path in self.programs if not _is_hidden(path, hidden)}
            self.links = {path: link for path, link in self.links.items() if not _is_hidden(path, hidden)}
        for path in layer.programs:
            self.links.pop(path, None)
        self.programs.difference_update(layer.links)
        self.programs.update(layer.programs)
        self.links.update(layer.links)

    def has(self, path: str) -> bool:
        """Whether a path leads to a file that may be run, its links followed."""
        waiting = list(reversed(path.split("/")))
        done: list[str] = []
        followed = 0
        while waiting and followed <= _MOST_LINKS:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done[:-1]
                continue
            target = self.links.get("/".join([*done, name]))
            if target is None:
                done.append(name)
                continue
            followed += 1
            done = [] if target.startswith("/") else done
            waiting.extend(reversed(target.split("/")))
        return not waiting and "/".join(done) in self.programs


def _is_hidden(path: str, hidden: frozenset[str]) -> bool:
    if path in hidden or "/" in hidden:
        return True
    end = path.rfind("/")
    while end != -1:
        if path[:end] in hidden or path[: end + 1] in hidden:
            return True
        end = path.rfind("/", 0, end)
    return False
