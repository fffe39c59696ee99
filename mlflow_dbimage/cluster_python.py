"""The cluster's own Python: what a base of Databricks Container Services has at `/databricks/python3`.

It is a virtual environment that mixes in the packages of the system's Python. All is read from the layers, and
nothing is run. Sources: PEP 405 (`pyvenv.cfg`), PEP 376 and its successor "Recording installed projects" of the
PyPA specifications (`RECORD`), `site.py` of CPython and Debian for where packages of the system lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlflow_dbimage.base_distributions import BaseDistribution, is_metadata, read_distributions
from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image, canonical_json
from mlflow_dbimage.oci.root_listing import NodeKind, RootListing, read_listing
from mlflow_dbimage.oci.tar import Owner
from mlflow_dbimage.progress import Progress

#: Where Databricks has the cluster's Python, from runtime 9 on.
CLUSTER_PREFIX = "/databricks/python3"

#: Of the record's form.
_VERSION = 1
_PREFIX = CLUSTER_PREFIX[1:]
_FOLDER = re.compile(r"python3\.\d+")
_VERSION_LINE = re.compile(r"^version(?:_info)?\s*=\s*(3\.\d+(?:\.\d+)?)", re.MULTILINE)
_MIXES_IN = re.compile(r"^include-system-site-packages\s*=\s*true", re.MULTILINE | re.IGNORECASE)
_HOME = re.compile(r"^home\s*=\s*(\S+)", re.MULTILINE)
# Relative to the prefix of the system's Python, in the order in which it searches them.
_SYSTEM_FOLDERS = (
    "local/lib/{python}/dist-packages",
    "lib/{python}/site-packages",
    "lib/python3/dist-packages",
    "lib/{python}/dist-packages",
)
_HINT = "name a base for Databricks Container Services of runtime 9 or newer, or lay the environment beside it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPython:
    """A virtual environment and what it mixes in."""

    python: str
    """`3.11.11`; the minor alone where the environment does not tell the patch."""
    distributions: Mapping[str, BaseDistribution]
    """What an import finds, by normalised name and in that order: the environment's own hide the system's."""
    paths: frozenset[str]
    """Every file and link of the environment; paths in the image."""
    folders: Mapping[str, Owner]
    """Mode, uid and gid of its directories, by path in the image."""

    @property
    def minor(self) -> str:
        """The Python without its patch: `3.11`."""
        return ".".join(self.python.split(".")[:2])

    @property
    def site_packages(self) -> str:
        """Where its packages lie, as a path in the image."""
        return site_packages(self.minor)

    @property
    def digest(self) -> Digest:
        """The identity of what models are resolved against, and of the files that may have to go."""
        return Digest.of(canonical_json(self.to_dict()))

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "python": self.python,
            "distributions": [asdict(each) for each in self.distributions.values()],
            "paths": sorted(self.paths),
            "folders": {path: list(owner) for path, owner in sorted(self.folders.items())},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClusterPython:
        """Read the JSON form."""
        found = (BaseDistribution.from_dict(each) for each in data["distributions"])
        return cls(
            python=data["python"],
            distributions={each.name: each for each in found},
            paths=frozenset(data["paths"]),
            folders={path: (owner[0], owner[1], owner[2]) for path, owner in data["folders"].items()},
        )


def site_packages(minor: str) -> str:
    """Return where packages of the cluster's Python lie, as a path in the image."""
    return f"{_PREFIX}/lib/python{minor}/site-packages"


def packages_place(directories: Iterable[str]) -> str | None:
    """Return where a base with these directories has the packages of the cluster's Python; None if it has none.

    Args:
        directories: Paths in the image.
    """
    start = f"{_PREFIX}/lib/"
    found = [path for path in directories if path.startswith(start) and _FOLDER.fullmatch(path[len(start) :])]
    return f"{found[0]}/site-packages" if len(found) == 1 else None


def fetch(image: Image, reference: str, cache: BuildCache, progress: Progress) -> ClusterPython:
    """Read the cluster's Python of a base, once for each set of layers.

    Args:
        image: The base.
        reference: As people name it.
        cache: Where it is remembered.
        progress: Where the step is reported.

    Raises:
        MatchError: `layout-impossible`, the base has no such Python, or not one that packages can be laid into.
        InputError: `base-invalid`, a layer cannot be read.
    """
    key = cache_key("cluster-python", _VERSION, [str(layer.diff_id) for layer in image.layers])
    record = cache.record("cluster-pythons", key)
    if record is not None:
        return ClusterPython.from_dict(record)
    with progress.step("reading the base's Python packages") as step:
        found = read(read_listing(image, _wanted), reference)
        step.note(f"Python {found.python}, {len(found.distributions)} packages")
    cache.put_record("cluster-pythons", key, found.to_dict())
    return found


def read(listing: RootListing, reference: str) -> ClusterPython:
    """Read the cluster's Python from the root of a base.

    Raises:
        MatchError: `layout-impossible`.
    """
    python = _python(listing, reference)
    minor = ".".join(python.split(".")[:2])
    inside = {path: node for path, node in listing.nodes.items() if path.startswith(f"{_PREFIX}/")}
    paths = frozenset(path for path, node in inside.items() if node.kind is not NodeKind.DIRECTORY)
    own = _of_the_environment(listing, minor, paths)
    mixed_in = {each.name: each for each in _of_the_system(listing, minor) if each.name not in own}
    return ClusterPython(
        python=python,
        distributions=dict(sorted({**mixed_in, **own}.items())),
        paths=paths,
        folders={
            path: (node.mode, node.uid, node.gid)
            for path, node in inside.items()
            if node.kind is NodeKind.DIRECTORY
        },
    )


def _wanted(path: str) -> bool:
    return path == f"{_PREFIX}/pyvenv.cfg" or is_metadata(path)


def _python(listing: RootListing, reference: str) -> str:
    """Return the version of the Python, or refuse what packages cannot be laid into."""
    node = listing.nodes.get(_PREFIX)
    if node is None:
        conda = "; it has conda, as runtimes before 9 have" if "databricks/conda" in listing.nodes else ""
        raise _refused(reference, f"it has no `{CLUSTER_PREFIX}`{conda}")
    if node.kind is not NodeKind.DIRECTORY:
        raise _refused(reference, f"its `{CLUSTER_PREFIX}` is no directory")
    if f"{_PREFIX}/conda-meta" in listing.nodes:
        raise _refused(reference, f"its `{CLUSTER_PREFIX}` is an environment of conda, not of virtualenv")
    folders = [name for name in listing.names(f"{_PREFIX}/lib") if _FOLDER.fullmatch(name)]
    if len(folders) != 1:
        named = ", ".join(folders) or "none"
        raise _refused(
            reference, f"its `{CLUSTER_PREFIX}` should have the packages of one Python, and has {named}"
        )
    if listing.resolve(f"{_PREFIX}/bin/python") is None:
        raise _refused(reference, f"its `{CLUSTER_PREFIX}/bin/python` leads to no program")
    minor = folders[0].removeprefix("python")
    told = _VERSION_LINE.search(listing.text(f"{_PREFIX}/pyvenv.cfg") or "")
    return told[1] if told and told[1].split(".")[:2] == minor.split(".") else minor


def _of_the_environment(listing: RootListing, minor: str, paths: frozenset[str]) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for each in read_distributions(listing, site_packages(minor), paths):
        # One that was left behind when another version was installed goes with it.
        left_behind = found.get(each.name)
        found[each.name] = (
            each if left_behind is None else replace(each, files={**left_behind.files, **each.files})
        )
    return found


def _of_the_system(listing: RootListing, minor: str) -> Iterator[BaseDistribution]:
    """Yield what the environment mixes in, first what is found first."""
    settings = listing.text(f"{_PREFIX}/pyvenv.cfg") or ""
    home = _HOME.search(settings)
    if home is None or not _MIXES_IN.search(settings):
        return
    prefix = home[1].strip("/").rpartition("/")[0]
    seen: set[str] = set()
    for template in _SYSTEM_FOLDERS:
        folder = listing.resolve(f"{prefix}/{template.format(python=f'python{minor}')}")
        for each in read_distributions(listing, folder) if folder else ():
            if each.name not in seen:
                seen.add(each.name)
                yield each


def _refused(reference: str, why: str) -> MatchError:
    return MatchError(
        "layout-impossible",
        f"no packages can be laid into the cluster's Python of the base `{reference}`: {why}",
        hint=_HINT,
    )
