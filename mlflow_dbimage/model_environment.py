"""What a model asks of its environment, read from conda.yaml, or from python_env.yaml and requirements.txt.

conda.yaml wins where both exist: it alone holds what is not from pip. Every problem of a file is told at once.
Sources: MLflow's `utils/environment.py` for the files, pip's "Requirements File Format" for lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from mlflow_dbimage import pip_lines, safe_yaml
from mlflow_dbimage.environment_spec import EnvironmentSpec, Requirement
from mlflow_dbimage.errors import InputError

CONDA_FILE = "conda.yaml"
PYTHON_FILE = "python_env.yaml"
REQUIREMENTS_FILE = "requirements.txt"

_PYTHON = re.compile(r"(?:\S+::)?python(?=$|[\s=<>!~])\s*(.*)")
_EXACT = re.compile(r"={0,3}\s*(\d+\.\d+(?:\.\d+)?)(?:\.\*|\*)?(?:=\S+)?")


def read_environment(
    directory: Path, named: object, python_version: str | None, logged_at: datetime | None
) -> EnvironmentSpec:
    """Read what a model asks for.

    Args:
        directory: The model's.
        named: `env` of its python_function flavor: a file name (MLflow 1), or names by kind (2 and newer).
        python_version: That logged the model; it counts where no file names one.
        logged_at: When it was logged.

    Raises:
        InputError: `model-environment-missing`, `model-environment-invalid`, `model-unsafe`.
    """
    conda, virtual = _file_names(named)
    if _has(directory, conda):
        found = EnvironmentLines(directory, conda)
        read_conda(found)
    elif _has(directory, virtual):
        found = EnvironmentLines(directory, virtual)
        _read_python_env(found)
    elif _has(directory, REQUIREMENTS_FILE):
        found = EnvironmentLines(directory, REQUIREMENTS_FILE)
        found.pip += _requirements(directory, REQUIREMENTS_FILE)
    else:
        raise InputError(
            "model-environment-missing",
            f"the model names no environment: it has neither `{conda}`, `{virtual}` nor `{REQUIREMENTS_FILE}`",
            hint="log the model again with its `conda_env` or `pip_requirements`",
        )
    python = _python(found, python_version) if found.readable else ""
    if found.problems:
        raise _invalid(found.file, found.problems)
    pip_lines.check_files(directory, found.pip)
    return EnvironmentSpec(
        python=python,
        channels=tuple(found.channels),
        conda=tuple(found.conda),
        pip=tuple(found.pip),
        directory=directory,
        logged_at=logged_at,
    )


class EnvironmentLines:
    """What was found so far in one environment file, with its problems."""

    def __init__(self, directory: Path, file: str) -> None:
        self.directory = directory
        self.file = file
        self.python = ""
        self.channels: list[str] = []
        self.conda: list[Requirement] = []
        self.pip: list[Requirement] = []
        self.problems: list[str] = []
        self.readable = True

    def load(self) -> Mapping[str, Any]:
        """Read the file, which must be a table; what is none is a problem, and empty."""
        try:
            data = safe_yaml.load((self.directory / self.file).read_bytes())
        except ValueError as error:
            return self._unreadable(str(error))
        return data if isinstance(data, dict) else self._unreadable("it is no table of fields")

    def _unreadable(self, problem: str) -> Mapping[str, Any]:
        self.readable = False
        self.problems.append(problem)
        return {}

    def texts(self, data: Mapping[str, Any], field: str) -> Iterator[tuple[str, str]]:
        """Yield the texts of a list, each with where it stands; anything else is a problem."""
        for place, item in self.items(data, field):
            if isinstance(item, str) and item.strip():
                yield place, item
            else:
                self.problems.append(f"`{place}` is not a text")

    def items(self, data: Mapping[str, Any], field: str) -> Iterator[tuple[str, Any]]:
        """Yield the items of a list, each with where it stands."""
        items = data.get(field)
        if items is not None and not isinstance(items, list):
            self.problems.append(f"`{field}` is not a list")
            return
        for position, item in enumerate(items or ()):
            yield f"{field}[{position}]", item


def _file_names(named: object) -> tuple[str, str]:
    if isinstance(named, str) and named:
        return named, PYTHON_FILE
    names = named if isinstance(named, dict) else {}
    return str(names.get("conda") or CONDA_FILE), str(names.get("virtualenv") or PYTHON_FILE)


def _has(directory: Path, name: str) -> bool:
    path = directory / name
    try:
        if not path.resolve().is_relative_to(directory.resolve()):
            raise InputError("model-unsafe", f"the model's environment file `{name}` lies outside the model")
        return path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, links in a circle, a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            "model-environment-invalid", f"the model's environment file `{name[:80]}` cannot be looked at: {why}"
        ) from error


def read_conda(found: EnvironmentLines) -> None:
    """Read a conda environment file: channels, conda requirements, pip lines, and what it says of Python."""
    data = found.load()
    if not found.readable:
        return
    found.channels += [text.strip() for _, text in found.texts(data, "channels")]
    if not data.get("dependencies"):
        found.problems.append("it has no `dependencies`")
    for place, item in found.items(data, "dependencies"):
        origin = f"{found.file}: {place}"
        if isinstance(item, str) and item.strip():
            python = _PYTHON.fullmatch(_bare(item))
            if python is not None:
                found.python = python[1].strip() or "*"
            elif _bare(item):
                found.conda.append(Requirement(text=_bare(item), origin=origin))
        elif isinstance(item, dict) and set(item) == {"pip"}:
            for inner, line in found.texts(item, "pip"):
                found.pip += pip_lines.split(line, f"{origin}.{inner}")
        else:
            found.problems.append(f"`{place}` is neither a text nor a list under `pip`")


def _read_python_env(found: EnvironmentLines) -> None:
    data = found.load()
    python = data.get("python")
    if python is not None and not isinstance(python, str):
        found.problems.append("`python` is not a text")
    elif python:
        found.python = python.strip()
    for field in ("build_dependencies", "dependencies"):
        for place, line in found.texts(data, field):
            found.pip += _expanded(found.directory, pip_lines.split(line, f"{found.file}: {place}"))


def _expanded(directory: Path, lines: list[Requirement]) -> list[Requirement]:
    """Put the lines of requirements.txt in the place of `-r requirements.txt`, so that each keeps its origin."""
    wholesale = {f"-r {REQUIREMENTS_FILE}", f"--requirement {REQUIREMENTS_FILE}"}
    result: list[Requirement] = []
    for line in lines:
        if line.text in wholesale and (directory / REQUIREMENTS_FILE).is_file():
            result += _requirements(directory, REQUIREMENTS_FILE)
        else:
            result.append(line)
    return result


def _requirements(directory: Path, name: str) -> list[Requirement]:
    try:
        return pip_lines.read(directory / name, name)
    except ValueError as error:
        raise _invalid(name, [str(error)]) from None


def _python(found: EnvironmentLines, recorded: str | None) -> str:
    """Choose the Python: the one that is named, else the one that logged the model, where it is in the range."""
    exact, allowed = python_wish(found)
    if exact or allowed is None:
        return exact
    wanted = found.python.replace(" ", "")
    if recorded is None:
        asked = f"asks for `python{wanted}` without saying which" if wanted.strip("*") else "names no Python"
        found.problems.append(f"it {asked}, and MLmodel does not tell which Python logged the model")
    elif not allowed.contains(recorded, prereleases=True):
        found.problems.append(f"it asks for `python{wanted}`, but Python {recorded} logged the model")
    return recorded or ""


def python_wish(found: EnvironmentLines) -> tuple[str, SpecifierSet | None]:
    """Return the Python that is named, or an empty text and the range; what is neither is a problem."""
    exact = _EXACT.fullmatch(found.python)
    if exact is not None:
        return exact[1], None
    wanted = found.python.replace(" ", "")
    try:
        # conda writes `*` for any, and one `=` for a version and what is below it.
        specifiers = re.sub(r"(?<![=<>!~])=(\d[\d.]*)(?=,|$)", r"==\1.*", wanted)
        return "", SpecifierSet("" if wanted in ("", "*") else specifiers)
    except InvalidSpecifier:
        found.problems.append(f"`python{found.python}` is no version of Python")
        return "", None


def _bare(text: str) -> str:
    """Take a comment off a conda requirement; `#` begins one after a space only (channels may have it)."""
    return re.sub(r"(?:^|\s)#.*", "", text.strip()).strip()


def _invalid(file: str, problems: list[str]) -> InputError:
    if len(problems) == 1:
        message = f"the model's environment file `{file}` cannot be understood: {problems[0]}"
    else:
        listed = "\n".join(f"  {problem}" for problem in problems)
        message = f"the model's environment file `{file}` cannot be understood:\n{listed}"
    return InputError(
        "model-environment-invalid", message, hint="log the model again with an environment that conda can read"
    )
