"""Environment files that are no model's: what environment.yml, requirements.txt and pylock.toml ask for.

Such a file is what a pipeline loads when a cluster starts. Every problem of a file is told at once; what a file
names must lie in its own folder.
Sources: conda's "Creating an environment from an environment.yml file", pip's "Requirements File Format", PEP 751.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as PipRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from mlflow_dbimage import pip_lines
from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.model_environment import EnvironmentLines, python_wish, read_conda
from mlflow_dbimage.runtime_fit import Subject

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_CONDA = (".yml", ".yaml")
_LOCK = re.compile(r"pylock(?:\.[^.]+)?\.toml")
_MAX_SIZE = 4 << 20
_VERSION = re.compile(r"\d[\w.+!-]*")


def read_file(path: Path) -> Subject:
    """Read an environment file; its name says of which kind it is.

    Raises:
        InputError: `environment-file-invalid`, with everything that is wrong with it.
    """
    if path.suffix in _CONDA:
        reader = _conda
    elif path.suffix == ".txt":
        reader = _requirements
    elif _LOCK.fullmatch(path.name):
        reader = _pylock
    else:
        raise InputError(
            "environment-file-invalid",
            f"`{path}` is no environment file by its name",
            hint="conda's end with `.yml` or `.yaml`, pip's with `.txt`, and lock files are called `pylock.toml`",
        )
    found = EnvironmentLines(path.parent, path.name)
    try:
        subject = reader(found)
    except OSError as error:
        found.problems.append(str(error.strerror))
    if found.problems:
        raise _invalid(path, found.problems)
    return subject


def is_environment_file(path: Path) -> bool:
    """Whether a path is one of an environment file by its name, and no directory."""
    named = path.suffix in (*_CONDA, ".txt") or _LOCK.fullmatch(path.name) is not None
    return named and not path.is_dir() and ":" not in str(path)


def _conda(found: EnvironmentLines) -> Subject:
    read_conda(found)
    python, allowed = python_wish(found)
    return _subject(found, python or None, str(allowed or ""))


def _requirements(found: EnvironmentLines) -> Subject:
    try:
        found.pip += pip_lines.read(found.directory / found.file, found.file)
    except ValueError as error:
        found.problems.append(str(error))
    return _subject(found, None, "")


def _subject(found: EnvironmentLines, python: str | None, python_range: str) -> Subject:
    outside, missing = pip_lines.file_problems(found.directory, found.pip)
    found.problems += [f"{each} names a file outside the folder of this one" for each in outside]
    found.problems += missing
    pip, constraints = pip_lines.expanded(found.directory, found.pip)
    return Subject(
        noun="environment",
        python=python,
        python_range=python_range,
        conda=tuple(found.conda),
        pip=pip,
        constraints=constraints,
    )


def _pylock(found: EnvironmentLines) -> Subject:
    data = _toml(found)
    version = data.get("lock-version")
    if found.readable and not (isinstance(version, str) and version.startswith("1.")):
        found.problems.append(f"`lock-version` is `{version}`, and versions 1 are what is read")
    python_range = data.get("requires-python", "")
    if not isinstance(python_range, str) or not _is_range(python_range):
        found.problems.append(f"`requires-python` is no range of versions: `{python_range}`")
        python_range = ""
    for place, package in found.items(data, "packages"):
        line = _locked(package) if isinstance(package, dict) else "it is no table of fields"
        if isinstance(line, Requirement):
            found.pip.append(line)
        else:
            found.problems.append(f"`{place}`: {line}")
    return Subject(noun="environment", python=None, python_range=python_range, pip=tuple(found.pip))


def _toml(found: EnvironmentLines) -> Mapping[str, Any]:
    data = (found.directory / found.file).read_bytes()
    problem = f"it has {len(data):,} bytes, and {_MAX_SIZE:,} are the most that is read"
    if len(data) <= _MAX_SIZE:
        try:
            return tomllib.loads(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            problem = f"it is not UTF-8 text at byte {error.start}"
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            problem = str(error) or "it is nested too deeply"
    found.problems.append(problem)
    found.readable = False
    return {}


def _locked(package: Mapping[str, Any]) -> Requirement | str:
    """Write a locked package as a pip line; of one from elsewhere than an index, the version may not be known."""
    name, version, marker = (package.get(field, "") for field in ("name", "version", "marker"))
    if not all(isinstance(each, str) for each in (name, version, marker)) or not name:
        return "its name, version or marker is not a text"
    if version and _VERSION.fullmatch(version) is None:
        return f"`{version}` is no version"
    text = f"{name}=={version}" if version else f"{name} @ file:elsewhere"
    line = f"{text} ; {marker}" if marker else text
    try:
        PipRequirement(f"{name} ; {marker}" if marker else name)
    except InvalidRequirement:
        return f"`{name}` with the marker `{marker}` is no requirement" if marker else f"`{name}` is no name"
    return Requirement(text=line, origin=f"`{name}`")


def _is_range(text: str) -> bool:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True


def _invalid(path: Path, problems: list[str]) -> InputError:
    listed = problems[0] if len(problems) == 1 else "\n" + "\n".join(f"  {each}" for each in problems)
    return InputError(
        "environment-file-invalid",
        f"the environment file `{path}` cannot be understood: {listed}".replace(": \n", ":\n"),
        hint="mend it, and check it with the tool that reads it",
    )
