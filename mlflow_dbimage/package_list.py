"""What a golden base shall hold: packages by exact name and version, read from a runtime or an environment file.

Such a list says what somebody has, not what somebody needs: it is taken as it is, and nothing is solved for it.
Source of the file's form: conda's documentation, "Managing environments", and what `conda env export` writes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from mlflow_dbimage import safe_yaml
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.runtimes import Runtime

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_EXACT_VERSION = r"[A-Za-z0-9_.!+-]+"
_CONDA = re.compile(
    rf"(?:[^\s:]+::)?(?P<name>{_NAME})={{1,2}}(?P<version>{_EXACT_VERSION})(?:=(?P<build>[\w.+-]+))?"
)
_PIP = re.compile(rf"(?P<name>{_NAME})(?:\[[^\]]*\])?={{2,3}}(?P<version>{_EXACT_VERSION})")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_FIELDS = ("name", "channels", "dependencies", "prefix")


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPin:
    """One conda package, exactly."""

    name: str
    version: str
    build: str | None = None
    """None where any build of that version will do."""

    def __str__(self) -> str:
        return "=".join(filter(None, (self.name, self.version, self.build)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipPin:
    """One distribution of a package index, exactly."""

    name: str
    """Normalised."""
    version: str
    """As written: some of Databricks' own are no versions that an index could have (`2.1.0-db5`)."""

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageList:
    """The packages of a golden base."""

    title: str
    """The runtime's key, or the name in the environment file."""
    runtime: str | None
    """The runtime's key; None where the list is a file's."""
    python: str
    """`3.7.10`, or `3.11` where the patch is not known."""
    channels: tuple[str, ...]
    """Names or URLs, first is first; empty where none is named."""
    conda: tuple[CondaPin, ...]
    """Empty where only Python, and what it needs to run, is to come from conda."""
    pip: tuple[PipPin, ...]
    prefix: str | None = None
    """Where the list says that the environment lies."""

    @property
    def count(self) -> int:
        """How many packages it names."""
        return len(self.conda) + len(self.pip)


def of_runtime(runtime: Runtime, conda_list: bytes | None) -> PackageList:
    """Return the packages of a runtime.

    Args:
        runtime: The runtime.
        conda_list: Its environment file, where the catalogue has one; else its Python packages are taken.

    Raises:
        InputError: `bad-package-list`.
    """
    if conda_list is not None:
        found = _read(conda_list, f"conda list of `{runtime.key}`")
        return replace(found, title=runtime.key, runtime=runtime.key)
    pins = [PipPin(name=canonicalize_name(name), version=version) for name, version in runtime.packages.items()]
    return PackageList(
        title=runtime.key,
        runtime=runtime.key,
        python=runtime.python,
        channels=(),
        conda=(),
        pip=tuple(sorted(pins, key=lambda pin: pin.name)),
    )


def of_file(path: Path) -> PackageList:
    """Read an environment file.

    Raises:
        InputError: `bad-package-list`, with every problem of the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            "bad-package-list", f"the environment file `{path}` cannot be read: {error.strerror}"
        ) from error
    return _read(data, f"environment file `{path}`")


def _read(data: bytes, what: str) -> PackageList:
    reading = _Reading(data, what)
    found = reading.read()
    if reading.problems:
        listed = "\n".join(f"  {problem}" for problem in reading.problems)
        raise InputError(
            "bad-package-list",
            f"the {what} cannot be understood:\n{listed}",
            hint="each package is pinned: conda's as name=version=build or name=version, pip's as name==version",
        )
    return found


class _Reading:
    """One file under way: gathers its problems."""

    def __init__(self, data: bytes, what: str) -> None:
        self.problems: list[str] = []
        self._what = what
        self._lines = data.decode("utf-8", errors="replace").splitlines()
        self._table = self._loaded(data)

    def read(self) -> PackageList:
        """Read all of it; what is wrong is left out."""
        unknown = [str(field) for field in self._table if field not in _FIELDS]
        self.problems += [f"`{field}` is no field of an environment file that can be used" for field in unknown]
        conda: dict[str, CondaPin] = {}
        pip: dict[str, PipPin] = {}
        for place, item in self._items(self._table, "dependencies"):
            if isinstance(item, str):
                self._add_conda(item, conda)
            elif isinstance(item, dict) and set(item) == {"pip"}:
                for inner, line in self._items(item, "pip"):
                    self._add_pip(line, f"{place}.{inner}", pip)
            else:
                self.problems.append(f"`{place}` is neither a text nor a list under `pip`")
        if "python" not in conda and not self.problems:
            self.problems.append("it names no Python: a base needs one, such as `python=3.11.11`")
        return PackageList(
            title=self._text("name") or "unnamed",
            runtime=None,
            python=conda["python"].version if "python" in conda else "",
            channels=self._channels(),
            conda=tuple(conda.values()),
            pip=tuple(pip.values()),
            prefix=self._prefix(),
        )

    def _loaded(self, data: bytes) -> dict[Any, Any]:
        try:
            table = safe_yaml.load(data)
        except ValueError as error:
            self.problems.append(str(error))
            return {"dependencies": []}
        if not isinstance(table, dict) or not table.get("dependencies"):
            self.problems.append("it has no `dependencies`")
            return {"dependencies": []}
        return table

    def _items(self, table: dict[Any, Any], field: str) -> Iterator[tuple[str, Any]]:
        items = table.get(field) or []
        if not isinstance(items, list):
            self.problems.append(f"`{field}` is not a list")
            return
        for position, item in enumerate(items):
            yield f"{field}[{position}]", item

    def _add_conda(self, text: str, conda: dict[str, CondaPin]) -> None:
        bare = _COMMENT.sub("", text).strip()
        match = _CONDA.fullmatch(bare.replace(" ", ""))
        if match is None:
            self.problems.append(f"{self._place(text)}: `{bare}` is not pinned to one version")
            return
        pin = CondaPin(name=match["name"].lower(), version=match["version"], build=match["build"])
        if pin.name in conda:
            self.problems.append(f"{self._place(text)}: `{pin.name}` stands twice")
        conda[pin.name] = pin

    def _add_pip(self, line: object, place: str, pip: dict[str, PipPin]) -> None:
        if not isinstance(line, str):
            self.problems.append(f"`{place}` is not a text")
            return
        bare = _COMMENT.sub("", line).strip()
        match = _PIP.fullmatch(bare.replace(" ", ""))
        if match is None:
            self.problems.append(f"{self._place(line)}: `{_shown(bare)}` is not pinned to one version")
            return
        pin = PipPin(name=canonicalize_name(match["name"]), version=match["version"])
        if pin.name in pip:
            self.problems.append(f"{self._place(line)}: `{pin.name}` stands twice")
        pip[pin.name] = pin

    def _channels(self) -> tuple[str, ...]:
        channels = [item for _, item in self._items(self._table, "channels")]
        if not all(isinstance(item, str) and item.strip() for item in channels):
            self.problems.append("`channels` is not a list of names")
            return ()
        return tuple(item.strip() for item in channels)

    def _text(self, field: str) -> str | None:
        value = self._table.get(field)
        if value is not None and not isinstance(value, str):
            self.problems.append(f"`{field}` is not a text")
            return None
        return value

    def _prefix(self) -> str | None:
        prefix = self._text("prefix")
        if not prefix:
            return None
        if not prefix.startswith("/") or posixpath.normpath(prefix) != prefix:
            self.problems.append(f"its prefix `{prefix}` is no absolute path of an image")
        return prefix

    def _place(self, text: str) -> str:
        """Say on which line an entry stands."""
        items = (line.strip().removeprefix("-").strip().lstrip("'\"") for line in self._lines)
        number = next((number for number, item in enumerate(items, 1) if item.startswith(text.strip())), None)
        return "one entry" if number is None else f"line {number}"


def _shown(text: str) -> str:
    """Return a line without what may be a password before an `@`."""
    return re.sub(r"://[^/\s]*@", "://***@", text)
