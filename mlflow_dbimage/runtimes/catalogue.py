"""Finds runtimes by their keys, as we or as Databricks writes them, and reads a file when it is asked for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from mlflow_dbimage import safe_yaml
from mlflow_dbimage.errors import InputError, MatchError
from mlflow_dbimage.runtimes.runtime import Runtime, read_runtime

_SUFFIX = ".yml"
_VERSION = re.compile(r"(\d+\.\d+)(?:\.(?:x|\d+))?")
# Words of a key that do not tell runtimes apart: support, the engine's flavour, the language's version.
_IDLE_WORD = re.compile(r"lts|dbr|cpu|photon|scala2\.\d+")


class DataFile(Protocol):
    """A file of the catalogue: a path, or a resource of the package."""

    @property
    def name(self) -> str:
        """The file's name."""

    def read_bytes(self) -> bytes:
        """Read it."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """What a key means, however it is written."""

    version: tuple[int, ...]
    words: frozenset[str]


class Catalogue:
    """The runtimes that are known.

    Args:
        sources: The data file of each runtime, by key.
    """

    def __init__(self, sources: Mapping[str, DataFile]) -> None:
        self._sources = dict(sources)
        self._read: dict[str, Runtime] = {}
        self._keys = {variant: key for key in sources if (variant := _variant(key)) is not None}

    @classmethod
    def load(cls, overrides: Path | None = None) -> Catalogue:
        """Open our own catalogue, and over it the files of a folder: its runtimes are added, or replace ours.

        Args:
            overrides: A folder of files of the same form as ours, named `<key>.yml`.

        Raises:
            InputError: `bad-config-file`, there is no such folder.
        """
        sources = _data_files((files("mlflow_dbimage.runtimes") / "data" / "runtimes").iterdir())
        if overrides is not None:
            if not overrides.is_dir():
                raise InputError("bad-config-file", f"the folder of runtimes `{overrides}` does not exist")
            sources |= _data_files(overrides.iterdir())
        return cls(sources)

    def keys(self) -> tuple[str, ...]:
        """Return all keys, oldest version first."""
        return tuple(sorted(self._sources, key=_order))

    def find(self, key: str) -> Runtime | None:
        """Return a runtime, also by a key as Databricks writes it, or None.

        Raises:
            InputError: `bad-config-file`, its file cannot be read.
        """
        wanted = key.strip().lower()
        if wanted not in self._sources:
            variant = _variant(wanted)
            wanted = self._keys.get(variant, "") if variant is not None else ""
        if not wanted:
            return None
        if wanted not in self._read:
            self._read[wanted] = _read(wanted, self._sources[wanted])
        return self._read[wanted]

    def get(self, key: str) -> Runtime:
        """Return a runtime, by its key or as Databricks writes it (`15.4.x-scala2.12`).

        Raises:
            MatchError: `unknown-runtime`.
            InputError: `bad-config-file`, its file cannot be read.
        """
        found = self.find(key)
        if found is not None:
            return found
        nearest = difflib.get_close_matches(key.strip().lower(), self.keys(), n=3, cutoff=0.4)
        listed = ", ".join(f"`{each}`" for each in nearest or self.keys()[-3:])
        raise MatchError(
            "unknown-runtime", f"the catalogue has no runtime `{key}`", hint=f"the nearest are {listed}"
        )

    def runtimes(self) -> tuple[Runtime, ...]:
        """Read all runtimes, oldest version first.

        Raises:
            InputError: `bad-config-file`, the file of one cannot be read.
        """
        return tuple(self.get(key) for key in self.keys())


def _data_files(folder: Iterable[DataFile]) -> dict[str, DataFile]:
    return {each.name.removesuffix(_SUFFIX): each for each in folder if each.name.endswith(_SUFFIX)}


def _variant(key: str) -> _Variant | None:
    first, *words = re.split(r"[-_ ]+", key.strip().lower())
    version = _VERSION.fullmatch(first)
    if version is None:
        return None
    telling = frozenset(word for word in words if _IDLE_WORD.fullmatch(word) is None)
    return _Variant(tuple(map(int, version[1].split("."))), telling)


def _order(key: str) -> tuple[tuple[int, ...], int, str]:
    variant = _variant(key)
    return (variant.version, len(variant.words), key) if variant else ((), 0, key)


def _read(key: str, source: DataFile) -> Runtime:
    try:
        return read_runtime(key, safe_yaml.load(source.read_bytes()))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError("bad-config-file", f"cannot read the runtime `{key}` of `{source}`: {why}") from error
