"""The form of a golden base: where its environment lies, and what Databricks asks of the image around it.

Up to DBR 8 the environment is conda's root environment, which Databricks activates. From DBR 9 that is refused:
it lies alone, and `/databricks/python3` stays the system's own.
Source: the images of github.com/databricks/containers, release by release.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mlflow_dbimage.errors import InputError, UsageError
from mlflow_dbimage.package_list import PackageList
from mlflow_dbimage.packed_env import IMAGE_PREFIX, LONGEST_PREFIX, is_prefix
from mlflow_dbimage.runtimes import Runtime

_CONDA_ROOT = "/databricks/conda/envs/"
_FIRST_WITHOUT_CONDA = 9
_FIRST_WITHOUT_FIPS = 16
_CLUSTER_PYTHON = "databricks/python3"
# What clusters need that packages cannot bring, by whether the environment is conda's root environment.
_NEEDED = {
    True: ("databricks/conda/conda-meta", "the Miniconda that activates the environment"),
    False: (_CLUSTER_PYTHON, "the Python of notebooks and of Spark"),
}
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Folders of which a base image tells owner and mode, so that layers of ours leave them as they are.
_ALLOWED = ("/opt/", "/databricks/")
_TAKEN = ("/opt/dbimage", "/databricks/python3")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseForm:
    """How a golden base is laid out and run."""

    prefix: str
    """Where the environment is in the image."""
    environment: Mapping[str, str]
    """Variables that the image sets."""
    needs_libraries_user: bool
    """Whether clusters install libraries as a user of that name."""
    notes: tuple[str, ...] = ()

    @property
    def is_conda_root(self) -> bool:
        """Whether the environment is the root environment of Databricks' conda."""
        return self.prefix.startswith(_CONDA_ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What of the system's image decides the form."""

    environment: Mapping[str, str]
    """The variables that it sets."""
    directories: Collection[str]
    """Below `databricks`, relative to its root."""


def form_of(wanted: PackageList, runtime: Runtime | None, prefix: str | None, system: System) -> BaseForm:
    """Return the form of a base.

    Args:
        wanted: Its packages.
        runtime: Whose they are; None where they are a file's.
        prefix: Where the environment is to lie; None where the runtime or the file decides.
        system: That it is built on.

    Raises:
        UsageError: `bad-value`, the environment cannot lie at that prefix.
        InputError: `bad-package-list`, nor at that of the file.
    """
    chosen, notes = _prefix(wanted, runtime, prefix)
    version = _major(runtime)
    environment = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    is_root = chosen.startswith(_CONDA_ROOT)
    if is_root:
        name = chosen.removeprefix(_CONDA_ROOT)
        environment["DEFAULT_DATABRICKS_ROOT_CONDA_ENV"] = name
        environment["DATABRICKS_ROOT_CONDA_ENV"] = name  # without it no notebook starts
        environment["PATH"] = f"{chosen}/bin:{system.environment.get('PATH') or _DEFAULT_PATH}"
    elif "PYSPARK_PYTHON" not in system.environment and _CLUSTER_PYTHON in system.directories:
        environment["PYSPARK_PYTHON"] = f"/{_CLUSTER_PYTHON}/bin/python3"
    if version is not None and version >= _FIRST_WITHOUT_FIPS:
        environment["OPENSSL_FORCE_FIPS_MODE"] = "0"
    needed, why = _NEEDED[is_root]
    if needed not in system.directories:
        notes = (*notes, f"the system has no `/{needed}`, {why}: jobs run elsewhere, clusters need it")
    return BaseForm(prefix=chosen, environment=environment, needs_libraries_user=not is_root, notes=notes)


def _prefix(wanted: PackageList, runtime: Runtime | None, given: str | None) -> tuple[str, tuple[str, ...]]:
    if given is not None:
        problem = _problem(given)
        if problem:
            raise UsageError("bad-value", f"the environment cannot lie at `{given}`: {problem}")
        return given, ()
    if wanted.prefix is not None and wanted.prefix.startswith("/databricks/conda"):
        problem = _problem(wanted.prefix)
        if problem:
            raise InputError(
                "bad-package-list", f"the environment cannot lie at `{wanted.prefix}`, as listed: {problem}"
            )
        return wanted.prefix, ()
    if wanted.prefix is not None:
        note = f"the prefix `{wanted.prefix}` of the list is of the machine that wrote it, and is not taken"
        return IMAGE_PREFIX, (note,)
    version = _major(runtime)
    if runtime is None or version is None or version >= _FIRST_WITHOUT_CONDA:
        return IMAGE_PREFIX, ()
    return f"{_CONDA_ROOT}{'databricks-ml' if runtime.is_ml else 'dcs-minimal'}", ()


def _problem(prefix: str) -> str | None:
    if not is_prefix(prefix):
        return f"it is no absolute path of letters, digits, `.`, `_` and `-`, {LONGEST_PREFIX} characters at most"
    if prefix == IMAGE_PREFIX:
        return None
    if any(prefix == taken or prefix.startswith(f"{taken}/") for taken in _TAKEN):
        return "other things lie there"
    if not prefix.startswith(_ALLOWED):
        return f"it must be below {' or '.join(f'`{each}`' for each in _ALLOWED)}"
    if prefix.startswith("/databricks/conda") and not re.fullmatch(rf"{_CONDA_ROOT}[^/]+", prefix):
        return f"Databricks looks for conda environments at `{_CONDA_ROOT}NAME`"
    return None


def _major(runtime: Runtime | None) -> int | None:
    match = re.match(r"\d+", runtime.key) if runtime is not None else None
    return int(match.group()) if match else None
