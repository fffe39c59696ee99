"""A base image of Databricks Container Services as a value, and how it is read from a data file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from mlflow_dbimage.runtimes import data_fields

_BOOTSTRAP = ("python", "pip", "setuptools", "wheel", "virtualenv")


def _bootstrap(value: object) -> str | None:
    wrong = data_fields.versions(value)
    if wrong is not None or not isinstance(value, dict):
        return wrong
    missing = ", ".join(f"`{name}`" for name in _BOOTSTRAP if name not in value)
    return f"lacks {missing}" if missing else None


_REQUIRED: Mapping[str, data_fields.Check] = {
    "name": data_fields.text,
    "key": data_fields.text,
    "as_of": data_fields.day_first,
    "os": data_fields.text,
    "java": data_fields.text,
    "python": data_fields.version_first,
    "bootstrap": _bootstrap,
    "python_env": data_fields.text,
    "lsp_env": data_fields.text_or_null,
    "source": data_fields.text,
    "package_count": data_fields.text,
    "packages": data_fields.versions,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DcsImage:
    """What Databricks' own base image of a runtime holds, as of the day on which its recipe was read."""

    key: str
    """Of the runtime; one more, `9.1-ubuntu20-lts`, is a second image of `9.1-lts`."""
    name: str
    as_of: date
    source: str
    os: str
    java: str
    """With which is the default where there are two."""
    python: str
    """`3.11.11`, or `3.11` where the patch is not pinned."""
    bootstrap: Mapping[str, str]
    """Versions of `python`, `pip`, `setuptools`, `wheel` and `virtualenv`, by which notebooks get their Python."""
    python_env: str
    """Where the cluster's Python is, and how it was made."""
    lsp_env: str | None
    """The environment of the notebook's completion, where there is one."""
    packages: Mapping[str, str]
    """Python packages of `/databricks/python3` by normalised name."""


def read_dcs_image(key: str, data: object) -> DcsImage:
    """Read a base image from what its file holds.

    Args:
        key: That the file is named for.
        data: Its content.

    Raises:
        ValueError: Fields are missing, unknown or wrong; the text names all.
    """
    if not isinstance(data, dict):
        raise ValueError("it is no table of fields")
    problems = data_fields.problems(data, _REQUIRED, {}) + data_fields.count_problem(data)
    if data.get("key") != key:
        problems.append(f"its key is `{data.get('key')}`, and its file is named for `{key}`")
    if problems:
        raise ValueError("; ".join(problems))
    return DcsImage(
        key=key,
        name=data["name"],
        as_of=date.fromisoformat(data["as_of"][:10]),
        source=data["source"],
        os=data["os"],
        java=data["java"],
        python=data_fields.leading_version(data["python"]),
        bootstrap=data_fields.frozen(data["bootstrap"]),
        python_env=data["python_env"],
        lsp_env=data["lsp_env"],
        packages=data_fields.frozen(data["packages"]),
    )
