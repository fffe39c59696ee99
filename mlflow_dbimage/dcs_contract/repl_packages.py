"""The Python packages without which a cluster's notebooks do not start, held against those of an environment.

Source: the block "required packages" of requirements.txt in databricks/containers, `ubuntu/python`, as of its
commits of 2024-02, and env.yml of `ubuntu/python-conda` for the runtimes with conda.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from packaging.version import InvalidVersion, Version

from mlflow_dbimage.cluster_roots.python_home import PythonHome
from mlflow_dbimage.dcs_contract.rule import Span, Subject, Verdict, found, missing, wrong

_REQUIRED: Mapping[Span, tuple[str, ...]] = {
    Span(below=(9, 0)): ("six", "ipython", "numpy", "pandas", "pyarrow", "traitlets"),
    Span(first=(9, 0)): ("six", "jedi", "ipython", "numpy", "pandas", "pyarrow", "matplotlib", "jinja2"),
    Span(first=(11, 3)): ("ipykernel",),
    Span(first=(14, 3)): ("grpcio", "grpcio-status", "databricks-sdk"),
    Span(first=(15, 4)): ("pyccolo",),
}


def required_packages(subject: Subject) -> tuple[str, ...]:
    """Return what is required of an image; not what Databricks' own image for the runtime does without."""
    names = [name for span, names in _REQUIRED.items() if subject.version in span for name in names]
    return tuple(name for name in names if subject.is_known(name))


def presence(subject: Subject, home: PythonHome) -> Verdict:
    """Say which required packages an environment lacks."""
    wanted = required_packages(subject)
    lacking = [name for name in wanted if name not in home.distributions]
    return missing(", ".join(lacking)) if lacking else found(f"all {len(wanted)}: {', '.join(wanted)}")


def versions(subject: Subject, home: PythonHome) -> Verdict | None:
    """Say which required packages have another version than the runtime's."""
    there = [name for name in required_packages(subject) if home.distributions.get(name)]
    return verdict_of_versions({name: (home.distributions[name], subject.known_versions(name)) for name in there})


def verdict_of_versions(packages: Mapping[str, tuple[str, Iterable[str]]]) -> Verdict | None:
    """Say which packages have none of the versions that are known to work; None where there are no packages.

    Args:
        packages: By name, the version that is there, and those that are known.
    """
    others = [
        f"{name} {version} (known: {' or '.join(sorted(known))})"
        for name, (version, known) in packages.items()
        if not any(_same(version, each) for each in known)
    ]
    if others:
        return wrong("; ".join(others))
    return found(", ".join(f"{name} {version}" for name, (version, _) in packages.items())) if packages else None


def without_pyspark(home: PythonHome) -> Verdict:
    """Say where pyspark is, which the cluster brings."""
    folders = [f"`/{folder}`" for folder in home.pyspark]
    if not folders and "pyspark" in home.distributions:
        folders = [f"`/{home.path}`"]
    return wrong(f"it is in {' and '.join(folders)}") if folders else found("it is not there")


def _same(version: str, known: str) -> bool:
    if version == known:
        return True
    try:
        return Version(version).public == Version(known).public
    except InvalidVersion:  # Databricks' own (`0.2.5.db1`)
        return False
