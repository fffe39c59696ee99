"""Whether everything that a model requires is there and can be imported.

Requirements are those that the model's own files name: conda.yaml, else requirements.txt. A requirement is a
distribution, and a distribution the packages and modules that it installed, the outermost of each tree: of
`google-cloud-storage` that is `google.cloud.storage`. Distributions are read from `*.dist-info` and `*.egg-info`,
since `importlib.metadata` comes with Python 3.8.
"""

from __future__ import annotations

import csv
import glob
import importlib
import json
import os
import re
import sys
from dataclasses import dataclass
from email.parser import Parser
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from .failures import one_line

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SOURCE_OR_LIBRARY = re.compile(r"([^/.]+)(?:\.(?:abi3|cpython-[^/]*|cp[^/]*))?\.(?:py|so)$")
#: What distributions install beside their packages by mistake, and what needs test tools to be imported.
_BYSTANDERS = frozenset(
    ("test", "tests", "testing", "doc", "docs", "example", "examples", "benchmarks", "scripts")
)
_NOT_INSTALLED = "it is not installed"


@dataclass(frozen=True)
class Requirement:
    """One line of a model's requirements."""

    name: str
    """As it is written."""
    of_conda: bool
    """Whether conda is to bring it; then it may be no Python at all."""
    conditional: bool = False
    """Whether a marker says where it is needed: it may rightly be missing."""


@dataclass(frozen=True)
class Distribution:
    """What is installed under one name."""

    name: str
    version: str
    modules: Tuple[str, ...]


def normal(name: str) -> str:
    """Write a name as all its spellings compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def import_all(directory: str) -> Dict[str, Optional[str]]:
    """Import what a model requires; tell for each requirement None, or what went wrong in one line."""
    installed = installed_distributions()
    found: Dict[str, Optional[str]] = {}
    for requirement in requirements(directory):
        distribution = installed.get(normal(requirement.name)) or _brought_by_conda(requirement, installed)
        if distribution is not None:
            found[requirement.name] = _import_error(distribution)
        elif not requirement.of_conda and not requirement.conditional:
            found[requirement.name] = _NOT_INSTALLED
    return found


def _import_error(distribution: Distribution) -> Optional[str]:
    for module in distribution.modules:
        if module in sys.modules:
            continue
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            return "importing `%s`: %s" % (module, one_line(error))
    return None


def requirements(directory: str) -> List[Requirement]:
    """Read the requirements of a model; none where its files name none that can be read."""
    try:
        found = list(_conda_requirements(directory))
    except (OSError, ValueError, TypeError, AttributeError, ImportError):
        found = list(_pip_requirements(directory, "requirements.txt"))
    return list(dict.fromkeys(found))


def _conda_requirements(directory: str) -> Iterator[Requirement]:
    import yaml

    with open(os.path.join(directory, "conda.yaml"), "rb") as stream:
        try:
            data = yaml.safe_load(stream)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    for line in (data.get("dependencies") if isinstance(data, dict) else None) or []:
        if isinstance(line, dict):
            for inner in line.get("pip") or []:
                yield from _of_pip_line(directory, str(inner), 0)
            continue
        match = _NAME.match(str(line).split("::")[-1].strip())
        if match is not None and match.group() not in ("python", "pip"):
            yield Requirement(match.group(), of_conda=True)


def _pip_requirements(directory: str, name: str, depth: int = 0) -> Iterator[Requirement]:
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as stream:
            lines = stream.read().replace("\\\n", " ").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        yield from _of_pip_line(directory, line, depth)


def _of_pip_line(directory: str, line: str, depth: int) -> Iterator[Requirement]:
    line = line.split(" #", maxsplit=1)[0].strip()
    option = re.match(r"(?:-r|--requirement)[ =]*(\S+)$", line)
    if option is not None:
        if depth < 5:  # a file may name itself
            yield from _pip_requirements(directory, option.group(1), depth + 1)
        return
    if line.endswith(".whl") and "@" not in line:
        line = os.path.basename(line).split("-")[0]
    match = _NAME.match(line)
    if match is not None and "/" not in line.split("@")[0]:
        yield Requirement(match.group(), of_conda=False, conditional=";" in line)


def installed_distributions() -> Dict[str, Distribution]:
    """Find every distribution that can be imported from, by its normal name; the first on the path counts."""
    found: Dict[str, Distribution] = {}
    for folder in filter(os.path.isdir, sys.path):
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.*-info"))):
            distribution = _read(path)
            if distribution is not None:
                found.setdefault(normal(distribution.name), distribution)
    return found


def _read(path: str) -> Optional[Distribution]:
    file = path if os.path.isfile(path) else os.path.join(path, "METADATA")
    if not os.path.isfile(file):
        file = os.path.join(path, "PKG-INFO")
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            metadata = Parser().parse(stream, headersonly=True)
    except OSError:
        return None
    name, version = metadata["Name"], metadata["Version"]
    if not name or not version:
        return None
    return Distribution(name, version, tuple(_modules(path)))


def _modules(path: str) -> List[str]:
    record = os.path.join(path, "RECORD")
    if os.path.isfile(record):
        with open(record, encoding="utf-8", errors="replace", newline="") as stream:
            files = [row[0] for row in csv.reader(stream) if row]
        return _public(outermost(files))
    try:
        with open(os.path.join(path, "top_level.txt"), encoding="utf-8") as stream:
            return _public(stream.read().split())
    except OSError:
        return []


def outermost(files: Iterable[str]) -> List[str]:
    """Name the outermost packages, and the modules beside them, of files relative to `site-packages`."""
    every = list(files)
    packages = {file.rpartition("/")[0] for file in every if file.endswith("/__init__.py")}
    outer = {each for each in packages if not any(parent in packages for parent in _parents(each))}
    modules = {match.group(1) for match in map(_SOURCE_OR_LIBRARY.match, every) if match is not None}
    return sorted([each.replace("/", ".") for each in outer] + list(modules - {"__init__"}))


def _parents(folder: str) -> Iterator[str]:
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        yield folder


def _public(modules: List[str]) -> List[str]:
    named = [each for each in modules if all(part.isidentifier() for part in each.split("."))]
    chosen = [each for each in named if each[0] != "_" and each.split(".")[0] not in _BYSTANDERS]
    return chosen or [each for each in named if each.split(".")[0] not in _BYSTANDERS]


def _brought_by_conda(requirement: Requirement, installed: Dict[str, Distribution]) -> Optional[Distribution]:
    """Find the distribution of a conda package that is called otherwise, such as `torch` of `pytorch`."""
    if not requirement.of_conda:
        return None
    pattern = os.path.join(glob.escape(sys.prefix), "conda-meta", "%s-[0-9]*.json" % requirement.name)
    for path in glob.glob(pattern):
        for file in _files_of_record(path):
            match = re.search(r"site-packages/([^/]+)-[^-/]+\.dist-info/METADATA$", str(file))
            if match is not None:
                return installed.get(normal(match.group(1)))
    return None


def _files_of_record(path: str) -> List[Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            return list(json.load(stream).get("files") or [])
    except (OSError, ValueError):
        return []
