"""Finds runtimes by their keys, as we or as Databricks writes them, and reads a file when it is asked for.

<key>.yml                  a runtime                                    (data/runtimes/ in our own)
dcs-images/<key>.yml       what Databricks' base image of it holds
conda/<key>-conda.yml      the conda environment of it, where it has one (7.x for machine learning)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Protocol, TypeVar

from mlflow_dbimage import safe_yaml
from mlflow_dbimage.errors import InputError, MatchError
from mlflow_dbimage.runtimes.dcs_image import DcsImage, read_dcs_image
from mlflow_dbimage.runtimes.runtime import Runtime, read_runtime

_SUFFIX = ".yml"
_IMAGES = "dcs-images"
_CONDA = "conda"
_CONDA_SUFFIX = "-conda"
_Value = TypeVar("_Value")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFiles:
    """The files of a catalogue by key, of each kind."""

    runtimes: Mapping[str, DataFile]
    images: Mapping[str, DataFile] = field(default_factory=dict)
    conda: Mapping[str, DataFile] = field(default_factory=dict)

    def under(self, over: DataFiles) -> DataFiles:
        """Return these with those of another catalogue, which replace ours."""
        return DataFiles(
            runtimes={**self.runtimes, **over.runtimes},
            images={**self.images, **over.images},
            conda={**self.conda, **over.conda},
        )


class Catalogue:
    """The runtimes that are known.

    Args:
        sources: Their data files.
    """

    def __init__(self, sources: DataFiles) -> None:
        self._sources = sources
        self._read: dict[str, Runtime] = {}
        self._keys = {variant: key for key in sources.runtimes if (variant := _variant(key)) is not None}

    @classmethod
    def load(cls, overrides: Path | None = None) -> Catalogue:
        """Open our own catalogue, and over it the files of a folder: its runtimes are added, or replace ours.

        Args:
            overrides: A folder of files of the same form as ours, named `<key>.yml`; of images and conda
                environments in `dcs-images/` and `conda/` below it.

        Raises:
            InputError: `bad-config-file`, there is no such folder, or a file's name would not be understood.
        """
        data = files("mlflow_dbimage.runtimes") / "data"
        ours = DataFiles(
            runtimes=_data_files((data / "runtimes").iterdir()),
            images=_data_files((data / _IMAGES).iterdir()),
            conda=_conda_files((data / _CONDA).iterdir()),
        )
        return cls(ours if overrides is None else ours.under(_overrides(overrides, ours)))

    def keys(self) -> tuple[str, ...]:
        """Return all keys, oldest version first."""
        return tuple(sorted(self._sources.runtimes, key=_order))

    def find(self, key: str) -> Runtime | None:
        """Return a runtime, also by a key as Databricks writes it, or None.

        Raises:
            InputError: `bad-config-file`, its file cannot be read.
        """
        wanted = self._key(key)
        if not wanted:
            return None
        if wanted not in self._read:
            self._read[wanted] = _read("runtime", wanted, self._sources.runtimes[wanted], read_runtime)
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

    def for_images(self, runtime: Runtime) -> Runtime | None:
        """Return the runtime whose clusters take images: itself, or for machine learning the one without it."""
        return runtime if runtime.dcs_supported else self.find(runtime.key.partition("-")[0])

    def dcs_image(self, key: str) -> DcsImage | None:
        """Return what Databricks' base image of a runtime holds; of one for machine learning, that of its sibling.

        Args:
            key: Of a runtime, as `get` takes it, or of a file of images.

        Raises:
            MatchError: `unknown-runtime`.
            InputError: `bad-config-file`, a file cannot be read.
        """
        if key not in self._sources.images:
            runtime = self.for_images(self.get(key))
            key = runtime.key if runtime else ""
        source = self._sources.images.get(key)
        return None if source is None else _read("image", key, source, read_dcs_image)

    def conda_list(self, key: str) -> bytes | None:
        """Return the conda environment file of a runtime that has one, whole, or None.

        Raises:
            MatchError: `unknown-runtime`.
            InputError: `bad-config-file`, a file cannot be read.
        """
        source = self._sources.conda.get(self.get(key).key)
        try:
            return None if source is None else source.read_bytes()
        except OSError as error:
            raise InputError("bad-config-file", f"cannot read `{source}`: {error.strerror}") from error

    def conda_packages(self, key: str) -> Mapping[str, str]:
        """Return the conda packages of a runtime, versions by name; empty where it has no conda list.

        Raises: as `conda_list`.
        """
        runtime, data = self.get(key), self.conda_list(key)
        if data is None:
            return {}
        try:
            content = safe_yaml.load(data)
            lines = content["dependencies"]  # type: ignore[index]  # what is no table is told below
            pairs = (line.split("=") for line in lines if isinstance(line, str) and "=" in line)
            return {name: version for name, version, *_ in pairs}
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                "bad-config-file", f"cannot read the conda list of `{runtime.key}`: {error}"
            ) from error

    def _key(self, written: str) -> str:
        wanted = written.strip().lower()
        if wanted in self._sources.runtimes:
            return wanted
        variant = _variant(wanted)
        return self._keys.get(variant, "") if variant is not None else ""


def _overrides(folder: Path, ours: DataFiles) -> DataFiles:
    """List the files of a site, and refuse names that would be passed over in silence."""
    if not folder.is_dir():
        raise InputError("bad-config-file", f"the folder of runtimes `{folder}` does not exist")
    try:
        runtimes, images, conda = (
            list(each.iterdir()) if each.is_dir() else [] for each in (folder, folder / _IMAGES, folder / _CONDA)
        )
    except OSError as error:
        raise InputError("bad-config-file", f"cannot list `{folder}`: {error.strerror}") from error
    known = {variant: key for key in ours.runtimes if (variant := _variant(key)) is not None}
    problems = [
        f"`{path}` does not end with `.yml`" for path in (*runtimes, *images, *conda) if path.suffix == ".yaml"
    ]
    for key in _data_files(runtimes):
        variant, path = _variant(key), folder / f"{key}{_SUFFIX}"
        twin = known.get(variant, key) if variant is not None else key
        if twin != key:
            problems.append(f"`{path}` is another name of `{twin}`: to replace that, call it `{twin}{_SUFFIX}`")
        if key != key.strip().lower():
            problems.append(f"`{path}` is not in lower case, as keys are")
    if problems:
        raise InputError(
            "bad-config-file", f"the folder of runtimes cannot be used: {'; '.join(sorted(problems))}"
        )
    return DataFiles(runtimes=_data_files(runtimes), images=_data_files(images), conda=_conda_files(conda))


def _data_files(folder: Iterable[DataFile]) -> dict[str, DataFile]:
    return {each.name.removesuffix(_SUFFIX): each for each in folder if each.name.endswith(_SUFFIX)}


def _conda_files(folder: Iterable[DataFile]) -> dict[str, DataFile]:
    return {key.removesuffix(_CONDA_SUFFIX): each for key, each in _data_files(folder).items()}


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


def _read(what: str, key: str, source: DataFile, reader: Callable[[str, object], _Value]) -> _Value:
    try:
        return reader(key, safe_yaml.load(source.read_bytes()))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError("bad-config-file", f"cannot read the {what} `{key}` of `{source}`: {why}") from error
