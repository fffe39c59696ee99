"""What an unpacked conda package says that it installs: rattler reads and writes wherever that leads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow_dbimage.backends.conda_archives import unpacked_folder
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.oci.documents import read_json

_MOST_SHOWN = 10


class ContentCheck:
    """Looks at each package when it is in the cache and not yet installed.

    What must not be installed is spoiled, so that rattler ends there; `refuse` then says why.

    Args:
        cache: rattler's cache of unpacked packages.
        packages: All that are installed.
    """

    def __init__(self, cache: Path, packages: Sequence[CondaPackage]) -> None:
        self._folders = {each.name: unpacked_folder(cache, each) for each in packages}
        self._problems: list[str] = []

    def look(self, name: str) -> None:
        """Look at a package, by its name."""
        folder = self._folders[name]
        if not folder.is_dir():
            self._problems.append(f"{name}: nobody could look at it, for it was not unpacked to `{folder}`")
            return
        found = list(_problems(folder))
        if found:
            self._problems += [f"{name}: {each}" for each in found]
            (folder / "info" / "paths.json").write_bytes(b"refused")

    def refuse(self) -> None:
        """Refuse what was found.

        Raises:
            InputError: `model-unsafe`.
        """
        if self._problems:
            shown = "\n  ".join(self._problems[:_MOST_SHOWN])
            raise InputError("model-unsafe", f"conda packages must not be installed:\n  {shown}")


def _problems(folder: Path) -> Iterator[str]:
    """Tell what must not be installed."""
    inside = _Inside(folder)
    for path, is_link in _listed(folder / "info"):
        problem = _problem(path)
        if problem is None and not inside.has(path, is_link=is_link):
            problem = f"{path!r} is no file of the package, but leads out of it"
        if problem is not None:
            yield problem


def _listed(info: Path) -> Iterator[tuple[str, bool]]:
    """Yield each path, and whether it is installed as a link; what cannot be read is rattler's to tell."""
    try:
        document = read_json((info / "paths.json").read_bytes())
    except FileNotFoundError:  # before conda-build 3: then rattler looks itself which of them are links
        with suppress(FileNotFoundError):
            lines = (info / "files").read_text(errors="surrogateescape").splitlines()
            yield from ((line, True) for line in lines)
        return
    except ValueError:
        return
    entries = document.get("paths") if isinstance(document, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        path = entry.get("_path") if isinstance(entry, dict) else None
        if isinstance(path, str):
            yield path, entry.get("path_type") == "softlink"


class _Inside:
    """Tells whether what lies at paths of a folder lies in it, whatever links lead there."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._root = os.path.realpath(folder)
        self._known: dict[str, bool] = {}

    def has(self, path: str, *, is_link: bool) -> bool:
        above = path.rpartition("/")[0]
        if above not in self._known:
            self._known[above] = self._leads_inside(above)
        if not self._known[above]:
            return False
        return is_link or not Path(self._folder, path).is_symlink() or self._leads_inside(path)

    def _leads_inside(self, path: str) -> bool:
        return f"{os.path.realpath(f'{self._folder}/{path}')}/".startswith(f"{self._root}/")


def _problem(path: str) -> str | None:
    parts = path.split("/")
    if path.startswith("/") or "\0" in path or ".." in parts:
        return f"{path!r} leaves the environment"
    if any(part.startswith(".wh.") for part in parts):
        return f"{path!r} would delete a file of the image"
    if [part for part in parts if part not in ("", ".")][:1] == ["conda-meta"]:
        return f"{path!r} would change conda's records"
    return None
