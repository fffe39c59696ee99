"""A runtime as a value, and how it is read from a data file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from mlflow_dbimage.runtimes import data_fields

#: By release of Ubuntu. Source: the `libc6` package of each.
GLIBC = {"18.04": "2.27", "20.04": "2.31", "22.04": "2.35", "24.04": "2.39"}

_UBUNTU = re.compile(r"Ubuntu (\d+\.\d+)")
_IMAGE = re.compile(r"[a-z0-9./-]+:[\w.-]+", re.ASCII)
_VERSION = re.compile(r"\d+(?:\.\d+)*")


def _system(value: object) -> str | None:
    match = _UBUNTU.match(value) if isinstance(value, str) else None
    if match is not None and match[1] in GLIBC:
        return None
    return f"is none of {', '.join(f'Ubuntu {each}' for each in GLIBC)}"


_REQUIRED: Mapping[str, data_fields.Check] = {
    "name": data_fields.text,
    "key": data_fields.text,
    "as_of": data_fields.day_first,
    "source": data_fields.texts,
    "spark_version_string": data_fields.text,
    "spark": data_fields.version_first,
    "scala": data_fields.version_first,
    "java": data_fields.version_first,
    "python": data_fields.version_first,
    "os": _system,
    "end_of_support": data_fields.day_first_or_null,
    "dcs_supported": data_fields.flag,
    "dcs_image": data_fields.text_or_null,
    "complete": data_fields.flag,
    "package_count": data_fields.text,
    "packages": data_fields.versions,
}
_OPTIONAL: Mapping[str, data_fields.Check] = {
    "delta": data_fields.text_or_null,
    "release_date": data_fields.day_first_or_null,
    "mlflow": data_fields.text_or_null,
    "mlflow_per_docs_matrix": data_fields.text_or_null,
    "mlflow_of_ml_variant": data_fields.text_or_null,
    "unverified": data_fields.texts,
    "notes": data_fields.texts,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One Databricks Runtime, as of the day on which its file was written: runtimes change under one key."""

    key: str
    """`15.4-lts`, `15.4-lts-ml`, `15.4-lts-ml-gpu`."""
    name: str
    as_of: date
    """The day on which its packages were seen."""
    sources: tuple[str, ...]
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
    scala: str
    delta: str | None
    release_date: date | None
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

    @property
    def is_gpu(self) -> bool:
        """Whether it is for machines with GPUs."""
        return "gpu" in self.key.split("-")

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
    problems = data_fields.problems(data, _REQUIRED, _OPTIONAL) + data_fields.count_problem(data)
    if data.get("key") != key:
        problems.append(f"its key is `{data.get('key')}`, and its file is named for `{key}`")
    if problems:
        raise ValueError("; ".join(problems))
    image = data["dcs_image"] or ""
    return Runtime(
        key=key,
        name=data["name"],
        as_of=date.fromisoformat(data["as_of"][:10]),
        sources=tuple(data["source"]),
        spark_version_string=data["spark_version_string"],
        python=data_fields.leading_version(data["python"]),
        os=data["os"].partition(" (")[0],
        glibc=GLIBC[_UBUNTU.match(data["os"])[1]],  # type: ignore[index]  # `_system` saw that it matches
        java=data_fields.leading_version(data["java"]),
        spark=data_fields.leading_version(data["spark"]),
        scala=data_fields.leading_version(data["scala"]),
        delta=data.get("delta"),
        release_date=data_fields.leading_day(data.get("release_date")),
        end_of_support=data_fields.leading_day(data["end_of_support"]),
        dcs_supported=data["dcs_supported"],
        # Where no image is certain, people wrote in its place what they know.
        dcs_image=image if _IMAGE.fullmatch(image) else None,
        mlflow=_mlflow(data.get("mlflow")),
        complete=data["complete"],
        packages=data_fields.frozen(data["packages"]),
        notes=tuple(data.get("notes") or ()),
        unverified=tuple(data.get("unverified") or ()),
    )


def _mlflow(value: str | None) -> str | None:
    match = _VERSION.match(value or "")
    return match.group() if match else None
