"""Rules of the cluster's Python up to 8.x: conda in `/databricks/conda`, and an environment that is its root.

Source: databricks/containers, `ubuntu/python-conda`.
"""

from __future__ import annotations

from mlflow_dbimage.cluster_roots.cluster_root import CONDA_ROOT
from mlflow_dbimage.cluster_roots.python_home import PythonHome
from mlflow_dbimage.dcs_contract import repl_packages
from mlflow_dbimage.dcs_contract.rule import Rule, Span, Subject, Verdict, found, missing, wrong

_CONDA = Span(below=(9, 0))
_VARIABLES = ("DEFAULT_DATABRICKS_ROOT_CONDA_ENV", "DATABRICKS_ROOT_CONDA_ENV")
_ROOT_NAMES = ("base", "root")
_RECIPE = "databricks/containers, python-conda"


def _conda(subject: Subject) -> Verdict:
    home = subject.root.conda
    if home is None:
        return missing(f"no `/{CONDA_ROOT}`")
    if home.kind != "directory":
        return wrong(f"`/{CONDA_ROOT}` is a {home.kind}")
    if not home.is_conda:
        return wrong(f"`/{CONDA_ROOT}` has no `conda-meta`")
    if not subject.root.has_conda_program:
        return wrong(f"no program `/{CONDA_ROOT}/bin/conda`")
    return found(f"`/{CONDA_ROOT}/bin/conda`")


def _variables(subject: Subject) -> Verdict:
    values = {name: subject.image.environment.get(name) for name in _VARIABLES}
    lacking = [name for name, value in values.items() if not value]
    if lacking:
        return missing(f"{' and '.join(lacking)} not set")
    detail = ", ".join(f"{name}={value}" for name, value in values.items())
    return found(detail) if len(set(values.values())) == 1 else wrong(detail)


def _name(subject: Subject) -> str | None:
    """Return the name of the root environment: as the variables say, else of the only one that there is."""
    stated = [value for name in _VARIABLES if (value := subject.image.environment.get(name))]
    only = list(subject.root.conda_environments) if len(subject.root.conda_environments) == 1 else []
    return next(iter([*stated, *only]), None)


def _home(subject: Subject) -> PythonHome | None:
    name = _name(subject)
    if name in _ROOT_NAMES and name not in subject.root.conda_environments:
        return subject.root.conda
    return subject.root.conda_environments.get(name or "")


def _environment(subject: Subject) -> Verdict | None:
    if _conda(subject).state != "found":
        return None
    name, home = _name(subject), _home(subject)
    if name is None:
        known = ", ".join(f"`{each}`" for each in subject.root.conda_environments) or "none"
        return missing(f"no variable says which; there are {known}")
    if home is None:
        return missing(f"no `/{CONDA_ROOT}/envs/{name}`")
    if home.program is None:
        return wrong(f"`/{home.path}` has no Python")
    if home.minor != subject.runtime.python_minor:
        return wrong(f"`/{home.path}` has Python {home.version or 'of an unknown version'}")
    return found(f"`/{home.path}`, Python {home.version}")


def _usable(subject: Subject) -> PythonHome | None:
    verdict = _environment(subject)
    return _home(subject) if verdict is not None and verdict.state == "found" else None


def _packages(subject: Subject) -> Verdict | None:
    home = _usable(subject)
    return None if home is None else repl_packages.presence(subject, home)


def _package_versions(subject: Subject) -> Verdict | None:
    home = _usable(subject)
    return None if home is None else repl_packages.versions(subject, home)


def _pyspark(subject: Subject) -> Verdict | None:
    home = _usable(subject)
    return None if home is None else repl_packages.without_pyspark(home)


def _traitlets(subject: Subject) -> Verdict | None:
    home = _usable(subject)
    version = None if home is None else home.distributions.get("traitlets")
    if not version:
        return None
    major = version.partition(".")[0]
    return found(version) if major.isdigit() and int(major) < 5 else wrong(version)


RULES = (
    Rule(
        id="conda",
        demands=f"conda is at `/{CONDA_ROOT}`",
        reason=f"the cluster activates its environment with it, at this place ({_RECIPE})",
        mend=f"install Miniconda with `-b -p /{CONDA_ROOT}`",
        check=_conda,
        runtimes=_CONDA,
    ),
    Rule(
        id="conda-variables",
        demands=f"{' and '.join(_VARIABLES)} name the environment",
        reason=f"the first says that the image has conda; without the second no notebook starts ({_RECIPE})",
        mend="set both to the environment's name in the image",
        check=_variables,
        runtimes=_CONDA,
    ),
    Rule(
        id="conda-environment",
        demands="the environment is there, with the runtime's minor version of Python",
        reason=f"it is the cluster's Python ({_RECIPE})",
        mend=f"make it with Python {{python}} at `/{CONDA_ROOT}/envs/<name>`",
        check=_environment,
        runtimes=_CONDA,
    ),
    Rule(
        id="conda-packages",
        demands="it has the packages that notebooks need",
        reason=f"without them the Python of notebooks does not start ({_RECIPE})",
        mend="add them to the environment, in the runtime's versions",
        check=_packages,
        runtimes=_CONDA,
    ),
    Rule(
        id="conda-package-versions",
        demands="they have the runtime's versions",
        reason='notebooks may not start: packages "HAVE to match" the runtime\'s (databricks/containers, gpu)',
        mend="install the runtime's versions, or try a notebook on a cluster",
        check=_package_versions,
        runtimes=_CONDA,
        severity="warning",
    ),
    Rule(
        id="conda-traitlets",
        demands="traitlets is older than 5",
        reason="notebooks up to 7.3 do not start with newer ones (databricks/containers)",
        mend="install traitlets 4.3.3",
        check=_traitlets,
        runtimes=Span(below=(7, 4)),
    ),
    Rule(
        id="conda-no-pyspark",
        demands="pyspark is not in it",
        reason="clusters inject their own, which another one would hide (databricks/containers, python)",
        mend="take pyspark and databricks-connect out of the environment",
        check=_pyspark,
        runtimes=_CONDA,
    ),
)
