"""A runtime as a value, and how it is read from a data file.

The files are written by people, with remarks beside versions (`3.7.6 (conda)`); a value has versions alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

#: By release of Ubuntu. Source: the `libc6` package of each.
GLIBC = {"18.04": "2.27", "20.04": "2.31", "22.04": "2.35", "24.04": "2.39"}

_TEXTS = ("name", "key", "spark_version_string", "spark", "scala", "java", "python", "os")
_REQUIRED = (*_TEXTS, "dcs_supported", "complete", "package_count", "packages")
_OPTIONAL = (
    "delta",
    "release_date",
    "end_of_support",
    "mlflow",
    "mlflow_per_docs_matrix",
    "mlflow_of_ml_variant",
    "dcs_image",
    "source",
    "unverified",
    "notes",
)
_VERSION = re.compile(r"\d+(?:\.\d+)*")
_UBUNTU = re.compile(r"Ubuntu (\d+\.\d+)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_IMAGE = re.compile(r"[a-z0-9./-]+:[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One Databricks Runtime, as of the day on which its file was written: runtimes change under one key."""

    key: str
    """`15.4-lts`, `15.4-lts-ml`, `15.4-lts-ml-gpu`."""
    name: str
    spark_version_string: str
    """As the Clusters API names it: `15.4.x-scala2.12`."""
    python: str
    """`3.11.11`, or `3.11` where the patch is not known."""
    os: str
    """With its release: `Ubuntu 22.04.4`."""
    glibc: str
    """Of that system: `2.35`."""
    java: str
    """The major version: `8`, `17`."""
    spark: str
    end_of_support: date | None
    """The last day of support; None where it is not known: of a runtime that is no LTS, it is long past."""
    dcs_supported: bool
    """Whether clusters of this runtime take container images; ML runtimes do not."""
    dcs_image: str | None
    """Of Databricks, for its clusters; None where there is none, or none is known."""
    mlflow: str | None
    """The version that it brings, where known."""
    complete: bool
    """Whether `packages` is all, or only what the container image of that runtime has."""
    packages: Mapping[str, str]
    """Python packages by normalised name; some versions are not PEP 440 (`0.2.5.db1`)."""
    notes: tuple[str, ...]
    unverified: tuple[str, ...]
    """What of this nobody has confirmed."""

    @property
    def python_minor(self) -> str:
        """The Python without its patch: `3.11`."""
        return ".".join(self.python.split(".")[:2])

    @property
    def is_ml(self) -> bool:
        """Whether it is a runtime for machine learning."""
        return "ml" in self.key.split("-")

    def supported_on(self, day: date) -> bool:
        """Whether Databricks still supported it on a day, as far as is known."""
        return self.end_of_support is not None and day <= self.end_of_support


def read_runtime(key: str, data: object) -> Runtime:
    """Read a runtime from what its file holds.

    Args:
        key: That the file is named for.
        data: Its content.

    Raises:
        ValueError: Fields are missing, unknown or wrong; the text names all.
    """
    if not isinstance(data, dict):
        raise ValueError("it is no table of fields")
    problems = _problems(key, data)
    if problems:
        raise ValueError("; ".join(problems))
    ended = _DATE.match(data.get("end_of_support") or "")
    image = data.get("dcs_image") or ""
    mlflow = _VERSION.match(data.get("mlflow") or "")
    return Runtime(
        key=key,
        name=data["name"],
        spark_version_string=data["spark_version_string"],
        python=_version(data["python"]),
        os=data["os"].partition(" (")[0],
        glibc=GLIBC[_UBUNTU.match(data["os"])[1]],  # type: ignore[index]  # `_problems` saw that it matches
        java=_version(data["java"]),
        spark=data["spark"],
        end_of_support=date.fromisoformat(ended.group()) if ended else None,
        dcs_supported=data["dcs_supported"],
        dcs_image=image if _IMAGE.fullmatch(image) else None,
        mlflow=mlflow.group() if mlflow else None,
        complete=data["complete"],
        packages=MappingProxyType(dict(data["packages"])),
        notes=tuple(data.get("notes") or ()),
        unverified=tuple(data.get("unverified") or ()),
    )


def _problems(key: str, data: dict[Any, Any]) -> list[str]:
    missing = [name for name in _REQUIRED if name not in data]
    unknown = [str(name) for name in data if name not in (*_REQUIRED, *_OPTIONAL)]
    found = [f"`{name}` is missing" for name in missing] + [f"`{name}` is no known field" for name in unknown]
    found += [f"`{name}` is not a text" for name in _TEXTS if name in data and not isinstance(data[name], str)]
    if found:
        return found
    if data["key"] != key:
        found.append(f"its key is `{data['key']}`, and its file is named for `{key}`")
    for name in ("python", "java"):
        if _VERSION.match(data[name]) is None:
            found.append(f"`{name}` does not begin with a version")
    system = _UBUNTU.match(data["os"])
    if system is None or system[1] not in GLIBC:
        found.append(f"`os` is none of {', '.join(f'Ubuntu {each}' for each in GLIBC)}")
    for name in ("dcs_supported", "complete"):
        if not isinstance(data[name], bool):
            found.append(f"`{name}` is neither true nor false")
    return found + _package_problems(data["packages"], data["package_count"])


def _package_problems(packages: object, count: object) -> list[str]:
    if not isinstance(packages, dict) or not all(
        isinstance(part, str) and part for pair in packages.items() for part in pair
    ):
        return ["`packages` is not a table of names and versions"]
    if str(count) != str(len(packages)):
        return [f"`package_count` is {count}, and there are {len(packages)} packages"]
    return []


def _version(text: str) -> str:
    match = _VERSION.match(text)
    assert match is not None, "`_problems` saw that it matches"
    return match.group()
