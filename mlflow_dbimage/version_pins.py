"""What requirement lines ask of versions, as values that pip's and conda's lines have in common.

Sources: PEP 508 and PEP 440 for pip, "Package match specifications" of conda's documentation for conda.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as PipRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.target_markers import applies, markers_of

#: Conda packages whose distribution has another name on PyPI; all others have the same one.
CONDA_NAMES: Mapping[str, str] = {
    "faiss": "faiss-cpu",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python",
    "py-opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "pytables": "tables",
    "python-flatbuffers": "flatbuffers",
    "python-graphviz": "graphviz",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "seaborn-base": "seaborn",
    "tensorflow-base": "tensorflow",
}

# What clusters of runtimes are.
_RUNTIMES = Platform("linux", "amd64")
_OPTIONS = re.compile(r"\s--?[a-z].*$")
# A pin that PEP 440 does not know (`==0.2.5.db1`), with its marker cut off.
_ODD_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(\[[\w\s,.-]*\])?\s*={2,3}\s*([^\s;,=<>!~]+)\s*")
_CONDA = re.compile(r"(?:\S+::)?([A-Za-z0-9_][\w.-]*)\s*(.*)")
_CONDA_ATTRIBUTE = re.compile(r"\bversion\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^,\]]*))")
_CONDA_BUILD = re.compile(r"(={0,2}[^=<>!~,|\s]+)=[^=,|\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What one line asks of one distribution."""

    name: str
    """Of the distribution on PyPI, normalised; of a conda package that is none, its own."""
    wanted: str
    """What is asked of the version, as written: `==1.23.5`, `=1.23`, `>=1,<2`; empty where any will do."""
    exact: str | None
    """The one version that is asked for, where there is one."""
    accepted: tuple[SpecifierSet, ...]
    """Any of these may accept a version; none where only the exact text can, or no version is comparable."""
    manager: Literal["conda", "pip"]
    origin: str
    package: str | None
    """The line as pip takes it, without marker and options; None where no index has it."""
    conda_name: str | None = None
    """As conda calls it; None for a pip line."""


def is_version(text: str) -> bool:
    """Whether a version is one of PEP 440, as indexes have them; some of Databricks' and of conda's are not."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def read_pip(line: Requirement, python: str) -> Pin | None:
    """Read a pip line; None for an option, and for what does not count on a runtime of that Python.

    Raises:
        ValueError: It names no distribution; a path or URL may not.
    """
    text = _OPTIONS.sub("", line.text).strip()
    if not text or text.startswith("-"):
        return None
    try:
        parsed = PipRequirement(text)
    except InvalidRequirement:
        return _odd(text, line, python)
    if not applies(parsed, markers_of(python, _RUNTIMES)):
        return None
    if parsed.url is not None:
        return _from_elsewhere(parsed.url, line, parsed.name)
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    return Pin(
        name=canonicalize_name(parsed.name),
        wanted=_written(parsed.specifier, text),
        exact=_exact(parsed.specifier),
        accepted=(parsed.specifier,),
        manager="pip",
        origin=line.origin,
        package=f"{parsed.name}{extras}{parsed.specifier}",
    )


def read_conda(line: Requirement) -> Pin:
    """Read a conda match specification; channel, build and other attributes are passed over.

    Raises:
        ValueError: It names no package.
    """
    match = _CONDA.fullmatch(line.text.strip())
    if match is None:
        raise ValueError("it names no package")
    conda_name, rest = match[1].lower(), match[2].strip()
    if "[" in rest:
        attribute = _CONDA_ATTRIBUTE.search(rest[rest.index("[") :])
        before = rest[: rest.index("[")].strip()
        rest = before or (next(filter(None, attribute.groups()), "") if attribute else "")
    wanted = re.sub(r"([<>=!~,|])\s+|\s+(?=[,|])", r"\1", rest)
    version = wanted.partition(" ")[0]
    built = _CONDA_BUILD.fullmatch(version)
    clauses = [each.split(",") for each in (_conda_exact(built[1]) if built else version).split("|")]
    exact = _exact_of_conda(clauses)
    accepted = tuple(each for each in map(_specifiers, clauses) if each is not None)
    name = CONDA_NAMES.get(conda_name, conda_name)
    name = name if name.startswith("_") else canonicalize_name(name)  # no distribution begins so
    return Pin(
        name=name,
        wanted=wanted,
        exact=exact,
        accepted=accepted,
        manager="conda",
        origin=line.origin,
        package=f"{name}=={exact}" if exact else f"{name}{accepted[0]}" if accepted else name,
        conda_name=conda_name,
    )


def _odd(text: str, line: Requirement, python: str) -> Pin | None:
    """Read what is no requirement of PEP 508: a path or URL, or a version that PEP 440 does not know."""
    requirement, _, marker = text.partition(";")
    match = _ODD_PIN.fullmatch(requirement.strip())
    if match is None:
        return _from_elsewhere(requirement.strip(), line, None)
    probe = PipRequirement(f"any; {marker}" if marker.strip() else "any")  # the marker needs some name
    if not applies(probe, markers_of(python, _RUNTIMES)):
        return None
    return Pin(
        name=canonicalize_name(match[1]),
        wanted=f"=={match[3]}",
        exact=match[3],
        accepted=(),
        manager="pip",
        origin=line.origin,
        package=f"{match[1]}{match[2] or ''}=={match[3]}",
    )


def _from_elsewhere(place: str, line: Requirement, name: str | None) -> Pin:
    """Read a path or URL: the name of a wheel tells its version, and nothing else does."""
    file = PurePosixPath(unquote(urlsplit(place).path)).name
    version = None
    try:
        name, version = (str(each) for each in parse_wheel_filename(file)[:2])
    except InvalidWheelFilename:
        if name is None:
            raise ValueError("it names no distribution") from None
    return Pin(
        name=canonicalize_name(name),
        wanted=f"=={version} from {file}" if version else f"from {file}",
        exact=version,
        accepted=(SpecifierSet(f"=={version}"),) if version else (),
        manager="pip",
        origin=line.origin,
        package=None,
    )


def _written(specifier: SpecifierSet, text: str) -> str:
    """Return a specifier in the order in which it was written."""
    return ",".join(sorted(map(str, specifier), key=lambda each: text.find(re.split(r"[=<>!~]+", each)[-1])))


def _exact(specifier: SpecifierSet) -> str | None:
    exact = (each.version for each in specifier if each.operator in ("==", "===") and "*" not in each.version)
    return next(exact, None)


def _conda_exact(text: str) -> str:
    return f"=={text.lstrip('=')}"


def _exact_of_conda(clauses: list[list[str]]) -> str | None:
    """Return the version of `1.2`, `=1.2` or `==1.2` that stands alone."""
    if len(clauses) != 1 or len(clauses[0]) != 1:
        return None
    match = re.fullmatch(r"={0,2}([^=<>!~*|,\s]+)", clauses[0][0])
    return match[1] if match else None


def _specifiers(clauses: list[str]) -> SpecifierSet | None:
    try:
        return SpecifierSet(",".join(filter(None, map(_clause, clauses))))
    except InvalidSpecifier:
        return None


def _clause(text: str) -> str:
    """Write a clause of conda as PEP 440 does."""
    if text in ("", "*"):
        return ""
    match = re.fullmatch(r"([=<>!~]*)(.*)", text)
    assert match is not None, "both parts may be empty"
    operator, version = match[1], match[2]
    below = version.endswith("*")
    bare = version.rstrip("*").rstrip(".")
    if operator in ("", "=", "==", "!="):
        # One `=` means a version and what is below it, as a star does; none means that version alone.
        star = ".*" if below or operator == "=" else ""
        return f"{'!=' if operator == '!=' else '=='}{bare}{star}"
    return f"{operator}{bare}"
