"""Rules of the cluster's Python from 9.0 on: a virtual environment at `/databricks/python3`, and virtualenv."""

from __future__ import annotations

from packaging.utils import canonicalize_name

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.cluster_roots.cluster_root import CLUSTER_PYTHON, COMPLETION_PYTHON, VIRTUALENV
from mlflow_dbimage.cluster_roots.python_home import PythonHome
from mlflow_dbimage.dcs_contract import repl_packages
from mlflow_dbimage.dcs_contract.rule import Rule, Span, Subject, Verdict, found, missing, unknown, wrong
from mlflow_dbimage.launcher.distribution import PACKAGE

_VIRTUAL = Span(first=(9, 0))
_PLACE = f"/{CLUSTER_PYTHON}"
_PROGRAMS = (f"{_PLACE}/bin/python3", f"{_PLACE}/bin/python")
_COMPLETION = "python-lsp-server"
_LAUNCHER = canonicalize_name(PACKAGE)
_MAKE = f"virtualenv --python=python{{python}} --system-site-packages {_PLACE} --no-download --no-setuptools"


def _environment(subject: Subject) -> Verdict:
    home = subject.root.python
    if home is None:
        return missing(f"no `{_PLACE}`")
    if home.kind != "directory":
        return wrong(f"`{_PLACE}` is a {home.kind}")
    if home.is_conda:
        return wrong(f"`{_PLACE}` is a conda environment")
    if home.settings is None:
        return wrong(f"`{_PLACE}` has no `pyvenv.cfg`")
    if home.program is None:
        return wrong(f"`{_PROGRAMS[0]}` leads nowhere")
    return found(f"its Python is `/{home.program}`")


def _home(subject: Subject) -> PythonHome | None:
    """Return the cluster's Python where it is one: else there is nothing more to say of it."""
    return subject.root.python if _environment(subject).state == "found" else None


def _version(subject: Subject) -> Verdict | None:
    home = _home(subject)
    if home is None:
        return None
    if home.version is None:
        return unknown("neither `pyvenv.cfg` nor its folders say it")
    return found(home.version) if home.minor == subject.runtime.python_minor else wrong(home.version)


def _system_packages(subject: Subject) -> Verdict | None:
    home = _home(subject)
    if home is None:
        return None
    if not home.sees_system:
        return wrong("`pyvenv.cfg` says `include-system-site-packages = false`")
    return found(f"{len(home.own)} of its own, {len(home.shared)} of the system")


def _packages(subject: Subject) -> Verdict | None:
    home = _home(subject)
    return None if home is None else repl_packages.presence(subject, home)


def _package_versions(subject: Subject) -> Verdict | None:
    home = _home(subject)
    return None if home is None else repl_packages.versions(subject, home)


def _pyspark(subject: Subject) -> Verdict | None:
    home = _home(subject)
    return None if home is None else repl_packages.without_pyspark(home)


def _pyspark_python(subject: Subject) -> Verdict:
    value = subject.image.environment.get("PYSPARK_PYTHON")
    if value is None:
        return missing("PYSPARK_PYTHON not set")
    if value in _PROGRAMS:
        return found(value)
    if value not in subject.root.executables:
        return wrong(f"PYSPARK_PYTHON={value}, which is no program of the image")
    return wrong(f"PYSPARK_PYTHON={value}; nobody has confirmed another one on a cluster", severity="warning")


def _virtualenv(subject: Subject) -> Verdict:
    return missing(f"no program `/{VIRTUALENV}`") if subject.root.virtualenv is None else found(f"`/{VIRTUALENV}`")


def _bootstrap(subject: Subject) -> Verdict | None:
    tool, reference = subject.root.virtualenv, subject.reference
    if tool is None or reference is None:
        return None
    wanted = {name: version for name, version in reference.bootstrap.items() if name != "python"}
    lacking = [name for name in wanted if name not in tool.versions]
    if lacking:
        return missing(f"{', '.join(lacking)} not beside `virtualenv`")
    return repl_packages.verdict_of_versions({name: (tool.versions[name], [wanted[name]]) for name in wanted})


def _updates(subject: Subject) -> Verdict | None:
    tool = subject.root.virtualenv
    if tool is None:
        return None
    if subject.image.environment.get("VIRTUALENV_NO_PERIODIC_UPDATE", "").lower() in ("1", "true", "yes", "on"):
        return found("VIRTUALENV_NO_PERIODIC_UPDATE is set")
    if tool.updates_itself is None:
        return unknown("its source does not say")
    return wrong("PERIODIC_UPDATE_ON_BY_DEFAULT is True") if tool.updates_itself else found("it is off")


def _pip_wheel(subject: Subject) -> Verdict | None:
    tool = subject.root.virtualenv
    if tool is None:
        return None
    if not tool.pip_wheels:
        return missing("no wheel of pip in `virtualenv_support`")
    return found(", ".join(tool.pip_wheels))


def _completion(subject: Subject) -> Verdict:
    home = subject.root.completion
    if home is None:
        return missing(f"no `/{COMPLETION_PYTHON}`")
    version = home.distributions.get(_COMPLETION)
    return missing(f"no {_COMPLETION} in it") if version is None else found(f"{_COMPLETION} {version}".strip())


def _launcher(subject: Subject) -> Verdict | None:
    home = _home(subject)
    if home is None or ImageRecord.from_labels(subject.image.labels) is None:
        return None
    version = home.distributions.get(_LAUNCHER)
    return missing(f"no {_LAUNCHER} in `{_PLACE}`") if version is None else found(f"{_LAUNCHER} {version}".strip())


RULES = (
    Rule(
        id="python",
        demands=f"`{_PLACE}` is a virtual environment",
        reason="notebooks and Spark run in it; conda in its place is refused (databricks/containers, gpu)",
        mend=_MAKE,
        check=_environment,
        runtimes=_VIRTUAL,
    ),
    Rule(
        id="python-version",
        demands="its Python has the runtime's minor version",
        reason="the runtime's Python code is laid beside it, and workers must have the driver's minor",
        mend=_MAKE,
        check=_version,
        runtimes=_VIRTUAL,
    ),
    Rule(
        id="system-packages",
        demands="it sees the system's packages",
        reason="Databricks' own images are made so, and notebooks make theirs from it (databricks/containers)",
        mend=_MAKE,
        check=_system_packages,
        runtimes=_VIRTUAL,
    ),
    Rule(
        id="packages",
        demands="it has the packages that notebooks need",
        reason="without them the Python of notebooks does not start (databricks/containers, required packages)",
        mend="install them with `/databricks/python3/bin/pip`, in the runtime's versions",
        check=_packages,
        runtimes=_VIRTUAL,
    ),
    Rule(
        id="package-versions",
        demands="they have the runtime's versions",
        reason='notebooks may not start: packages "HAVE to match" the runtime\'s (databricks/containers, gpu)',
        mend="install the runtime's versions, or try a notebook on a cluster",
        check=_package_versions,
        runtimes=_VIRTUAL,
        severity="warning",
    ),
    Rule(
        id="no-pyspark",
        demands="pyspark is not installed for it",
        reason="clusters inject their own, which another one would hide (databricks/containers, python)",
        mend="uninstall pyspark and databricks-connect",
        check=_pyspark,
        runtimes=_VIRTUAL,
    ),
    Rule(
        id="pyspark-python",
        demands=f"PYSPARK_PYTHON is {_PROGRAMS[0]}",
        reason="Spark looks there for Python (databricks/containers, python)",
        mend=f"set `PYSPARK_PYTHON={_PROGRAMS[0]}` in the image",
        check=_pyspark_python,
        runtimes=_VIRTUAL,
    ),
    Rule(
        id="virtualenv",
        demands=f"`/{VIRTUALENV}` is there",
        reason="notebooks and %pip make their Python with it; from 11.x its lack stops the cluster (PR 113, 126)",
        mend="install virtualenv for the system's Python {python}: pip install {pins}",
        check=_virtualenv,
        runtimes=_VIRTUAL,
    ),
    Rule(
        id="bootstrap",
        demands="pip, setuptools, wheel and virtualenv have the versions of Databricks' image",
        reason="what notebooks are made with was tried in these versions (databricks/containers, python)",
        mend="pip install {pins}",
        check=_bootstrap,
        runtimes=_VIRTUAL,
        severity="warning",
    ),
    Rule(
        id="periodic-update",
        demands="virtualenv does not update itself",
        reason="else making a notebook's Python asks a package index, which clusters may not reach",
        mend="set `PERIODIC_UPDATE_ON_BY_DEFAULT = False` in virtualenv/seed/embed/base_embed.py, or"
        " `VIRTUALENV_NO_PERIODIC_UPDATE=1` in the image",
        check=_updates,
        runtimes=_VIRTUAL,
        severity="warning",
    ),
    Rule(
        id="pip-wheel",
        demands="a wheel of pip lies in `virtualenv_support`",
        reason="notebooks get their pip from it without a network (databricks/containers, python)",
        mend="pip download pip=={pip} --dest <site-packages>/virtualenv_support",
        check=_pip_wheel,
        runtimes=_VIRTUAL,
        severity="warning",
    ),
    Rule(
        id="completion",
        demands=f"`/{COMPLETION_PYTHON}` has {_COMPLETION}",
        reason="notebooks complete code with it; Databricks' own images have it from 12.2 on",
        mend=f"virtualenv --python=python{{python}} /{COMPLETION_PYTHON}, and install {_COMPLETION} with its pip",
        check=_completion,
        runtimes=Span(first=(12, 2)),
        severity="warning",
    ),
    Rule(
        id="launcher",
        demands="an image of ours has the launcher of jobs",
        reason="a Python wheel task finds its entry point among the packages of the cluster's Python",
        mend="build the image on a base whose `/databricks/python3` is that of `{runtime}`",
        check=_launcher,
        runtimes=_VIRTUAL,
    ),
)
