"""The files of a model: which of them belong to it, whether they are safe to put into an image, their digest.

What MLflow or Databricks lay beside a model when it is downloaded, and what Python does when it is loaded, is
no part of it. A model may hold regular
files, directories, and links that stay inside it; anything else would mean something else in an image.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.digest import Digest

#: Written beside a model by downloads, not by its author; they differ with the URI that it was asked by.
_EXCLUDED = frozenset({"registered_model_meta", "_databricks"})
#: Python's own caches, which appear when a model is loaded where it lies.
_CACHE = "__pycache__"
_WHITEOUT = ".wh."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model."""

    path: str
    """Relative to the model's directory, with `/` between its parts."""
    size: int
    """In bytes."""
    mode: int
    """0o755 if its owner may execute it, else 0o644."""
    digest: Digest


def read_files(directory: Path) -> tuple[ModelFile, ...]:
    """Return the files of a model, in bytewise order of their paths; a link counts as the file it leads to.

    Raises:
        InputError: `model-unsafe`, with everything that is.
    """
    return tuple(_read(directory, path) for path in safe_paths(directory))


def safe_paths(directory: Path) -> tuple[str, ...]:
    """Return the paths of a model's files without reading them, as `read_files` does.

    Raises:
        InputError: `model-unsafe`, with everything that is.
    """
    root = directory.resolve()
    paths: list[str] = []
    problems: list[str] = []
    for path in _walk(root, root):
        problem = _problem(path, root)
        if problem is not None:
            problems.append(f"`{_shown(path, root)}` {problem}")
        elif path.is_file():
            paths.append(path.relative_to(root).as_posix())
    if problems:
        raise _unsafe(problems)
    return tuple(sorted(paths, key=os.fsencode))


def digest_of(files: tuple[ModelFile, ...]) -> Digest:
    """Return the identity of a model: paths, sizes and contents of its files, and nothing else."""
    state = hashlib.sha256()
    for file in files:
        state.update(f"{file.path}\0{file.size}\0{file.digest.hex}\n".encode())
    return Digest(state.hexdigest())


def _walk(folder: Path, root: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        path = Path(entry.path)
        if (folder == root and entry.name in _EXCLUDED) or entry.name == _CACHE:
            continue
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(_WHITEOUT):
            yield from _walk(path, root)
        yield path


def _problem(path: Path, root: Path) -> str | None:
    """Say what is wrong with a path, or None."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if path.name.startswith(_WHITEOUT):
        return "has a name that deletes another file in an image"
    if path.is_symlink():
        return _problem_of_link(path, root)
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is neither a file nor a directory"
    return None


def _problem_of_link(path: Path, root: Path) -> str | None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return f"is a link to `{path.readlink()}`, which leads nowhere or out of the model"
    if not target.is_relative_to(root):
        return f"is a link to `{path.readlink()}`, which leads out of the model"
    if not target.is_file():
        return f"is a link to `{path.readlink()}`; only links to files can be packaged"
    return None


def _read(directory: Path, path: str) -> ModelFile:
    file = directory / path
    with file.open("rb") as stream:
        digest = Digest.of_stream(stream)
        status = os.fstat(stream.fileno())
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return ModelFile(path=path, size=status.st_size, mode=mode, digest=digest)


def _shown(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")


def _unsafe(problems: list[str]) -> InputError:
    if len(problems) == 1:
        message = f"the model cannot go into an image: {problems[0]}"
    else:
        message = "the model cannot go into an image:\n" + "\n".join(f"  {problem}" for problem in problems)
    return InputError("model-unsafe", message, hint="log the model again without these files")
