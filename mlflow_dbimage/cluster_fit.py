"""What may change in the cluster's own Python: pure rules over what the base has and what a model needs.

Sources: databricks/containers, `ubuntu/python/requirements.txt`, for what the notebooks' kernel needs and for what
is injected; NumPy's migration guide to 2.0 for extension modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlflow_dbimage.base_distributions import BaseDistribution
from mlflow_dbimage.cluster_python import CLUSTER_PREFIX, ClusterPython
from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.environment_spec import Requirement as Line
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.locked_packages import Decision
from mlflow_dbimage.locking.package_owners import PlacedFile
from mlflow_dbimage.locking.path_owners import Placed
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.target_markers import allows, applying, markers_of

#: What Databricks puts into the cluster's Python when it starts: an image must not have it.
INJECTED = ("databricks-connect", "py4j", "pyspark")

#: What a notebook's kernel is made of, and how it talks to the cluster: the runtime needs its own versions.
KERNEL = frozenset(
    {
        "asttokens",
        "backcall",
        "comm",
        "databricks-sdk",
        "debugpy",
        "decorator",
        "executing",
        "grpcio",
        "grpcio-status",
        "ipyflow-core",
        "ipykernel",
        "ipython",
        "ipython-genutils",
        "jedi",
        "jupyter-client",
        "jupyter-core",
        "matplotlib-inline",
        "nest-asyncio",
        "parso",
        "pexpect",
        "pickleshare",
        "prompt-toolkit",
        "protobuf",
        "psutil",
        "ptyprocess",
        "pure-eval",
        "pyccolo",
        "pygments",
        "pyzmq",
        "stack-data",
        "tornado",
        "traitlets",
        "wcwidth",
    }
)

#: What Databricks' images must have, too, but libraries that models pin: these may change, with a word on it.
REQUIRED = frozenset({"jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "six"})

# What conda.yaml names beside Python to install with; the cluster's Python has its own.
_TOOLS = frozenset({"pip", "setuptools", "wheel"})
_CONDA_LINE = re.compile(r"(?:[^:\s]+::)?([A-Za-z0-9][\w.-]*)\s*([=<>!~*\d].*)?")
_EXACT = re.compile(r"(=?)=?\s*(\d[\w.]*?)(?:\.?\*)?")
_HINT = "let the environment be isolated: it lies beside the cluster's Python, which stays as it is"


def impossible(problems: Sequence[str]) -> MatchError:
    """Return the error that says why the model cannot go into the cluster's Python."""
    listed = problems[0] if len(problems) == 1 else "".join(f"\n  {each}" for each in problems)
    text = f"the model cannot go into the cluster's Python: {listed}".replace(": \n", ":\n")
    return MatchError("layout-impossible", text, hint=_HINT)


def refuse_misfits(spec: EnvironmentSpec, cluster: ClusterPython) -> None:
    """Refuse a model of another Python, or with conda packages of its own.

    A conda package counts as the model's own unless the base has a distribution of that name whose version
    satisfies, or it is a tool to install with.

    Raises:
        MatchError: `layout-impossible`, with everything that is found.
    """
    problems = []
    if spec.python_minor != cluster.minor:
        problems.append(f"it needs Python {spec.python_minor}, and the base has {cluster.minor}")
    problems += [problem for line in spec.conda if (problem := _conda_problem(line, cluster))]
    if problems:
        raise impossible(problems)


def _conda_problem(line: Line, cluster: ClusterPython) -> str | None:
    parsed = _CONDA_LINE.fullmatch(line.text)
    name = canonicalize_name(parsed[1]) if parsed else ""
    present = cluster.distributions.get(name)
    if name in _TOOLS:
        return None
    if present is None or parsed is None:
        return f"`{line.text}` ({line.origin}) is a conda package, and the base has none of that name from pip"
    if not _satisfies_conda(present.version, (parsed[2] or "").strip()):
        return f"`{line.text}` ({line.origin}) is a conda package, and the base has {present.version} from pip"
    return None


def _satisfies_conda(version: str, specification: str) -> bool:
    """Whether a version is what a conda line asks for; a line with a build asks for conda's own package."""
    exact = _EXACT.fullmatch(specification)
    if exact is not None:
        fuzzy = exact[0].endswith("*") or (exact[1] == "=" and not specification.startswith("=="))
        specification = f"=={exact[2]}{'.*' if fuzzy else ''}"
    try:
        return SpecifierSet(specification.replace(" ", "")).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False


def broken_by(
    versions: Mapping[str, str], cluster: ClusterPython, platform: Platform
) -> dict[str, tuple[str, ...]]:
    """Return, by name of a base's distribution, its requirements that held and would not hold any more.

    Args:
        versions: What the model's requirements resolved to, by name; these are right among themselves.
        cluster: What the base has.
        platform: For which requirements with markers are read.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, distribution in cluster.distributions.items():
        if name in versions:
            continue
        lost = []
        for requirement in _required(distribution, cluster, platform):
            needed = canonicalize_name(requirement.name)
            before = cluster.distributions.get(needed)
            if needed not in versions or before is None or not allows(requirement, before.version):
                continue
            if not allows(requirement, versions[needed]):
                lost.append(f"{name} {distribution.version} needs {requirement}, not {versions[needed]}")
        if lost:
            found[name] = tuple(lost)
    return found


def compiled_for_another_numpy(
    versions: Mapping[str, str], cluster: ClusterPython, platform: Platform
) -> frozenset[str]:
    """Return which of the base's distributions do not load any more if NumPy goes from 1 to 2 or back.

    Their metadata does not say it: extension modules work with the major version that they were compiled for.
    """
    before = cluster.distributions.get("numpy")
    after = versions.get("numpy")
    if before is None or after is None or before.version.split(".")[0] == after.split(".")[0]:
        return frozenset()
    return frozenset(
        name
        for name, each in cluster.distributions.items()
        if each.compiled
        and versions.get(name, each.version) == each.version
        and any(canonicalize_name(needed.name) == "numpy" for needed in _required(each, cluster, platform))
    )


def settle_with_base(placed: Placed, cluster: ClusterPython) -> tuple[tuple[str, ...], tuple[Decision, ...]]:
    """Return which of the base's own distributions go since wheels bring their packages, and why.

    A file that a wheel brings with another content than a distribution that stays must not be overwritten: half of
    that one would be left.

    Raises:
        MatchError: `ownership-conflict`, with every conflict.
    """
    laid = {wheel.name for wheel, _ in placed}
    staying = [each for each in cluster.distributions.values() if each.own and each.name not in laid]
    brought = {_in_image(file): (wheel, file) for wheel, contents in placed for file in contents.files}
    packages, _ = _packages(brought, cluster)
    superseded: list[str] = []
    decisions: list[Decision] = []
    conflicts: list[str] = []
    for each in staying:
        shared = [path for path in each.files if path in brought and _differs(each.files[path], brought[path][1])]
        if not shared:
            continue
        wheel = brought[shared[0]][0]
        theirs, shares_namespace = _packages(each.files, cluster)
        if theirs <= packages and not shares_namespace:
            superseded.append(each.name)
            reason = f"{wheel.name} {wheel.version} brings the same packages"
            decisions.append(Decision(distribution=f"{each.name} {each.version}", owner="nobody", reason=reason))
        else:
            conflicts.append(f"`/{shared[0]}`: of {wheel.name} {wheel.version} and of the base's {each.name}")
    if conflicts:
        text = "\n  ".join(sorted(conflicts)[:20])
        raise MatchError("ownership-conflict", f"files of the base's packages would change:\n  {text}", hint=_HINT)
    return tuple(superseded), tuple(decisions)


def _packages(paths: Iterable[str], cluster: ClusterPython) -> tuple[frozenset[str], bool]:
    """Return the importable packages and modules among some paths, and whether some belong to a namespace."""
    site = f"{cluster.site_packages}/"
    inside = {path[len(site) :] for path in paths if path.startswith(site)}
    tops = {path.split("/")[0] for path in inside}
    tops = {top for top in tops if not top.endswith((".dist-info", ".egg-info", "__pycache__"))}
    own = frozenset(top for top in tops if top in inside or f"{top}/__init__.py" in inside)
    return own, own != tops


def _in_image(file: PlacedFile) -> str:
    return f"{CLUSTER_PREFIX[1:]}/{file.path}"


def _differs(recorded: str, file: PlacedFile) -> bool:
    return not recorded or recorded != file.sha256


def _required(distribution: BaseDistribution, cluster: ClusterPython, platform: Platform) -> Iterator[Requirement]:
    """Yield what a distribution requires there, without an extra and without what is injected."""
    for requirement in applying(distribution.requires, markers_of(cluster.python, platform)):
        if canonicalize_name(requirement.name) not in INJECTED:
            yield requirement
