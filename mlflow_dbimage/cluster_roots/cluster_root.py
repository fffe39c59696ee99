"""What an image's root has, as far as a cluster asks for it: a small value, read from a listing of the root."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlflow_dbimage.cluster_roots.python_home import PythonHome, distributions, read_python_home, site_folders
from mlflow_dbimage.oci.inventory import LIBC, OS_RELEASE, glibc_version, read_os_release
from mlflow_dbimage.oci.root_listing import NodeKind, RootListing
from mlflow_dbimage.oci.system_packages import STATUS, read_status

#: Programs by the package that brings them in Ubuntu.
PACKAGES = {
    "bash": "bash",
    "iproute2": "ip",
    "coreutils": "cp",
    "procps": "ps",
    "sudo": "sudo",
    "acl": "setfacl",
}
#: As a shell has it that nobody told otherwise.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CLUSTER_PYTHON = "databricks/python3"
COMPLETION_PYTHON = "databricks/python-lsp"
CONDA_ROOT = "databricks/conda"
VIRTUALENV = "usr/local/bin/virtualenv"

_STATUS = "var/lib/dpkg/status"
_BOOTSTRAP = ("pip", "setuptools", "wheel", "virtualenv")
_UPDATES = "virtualenv/seed/embed/base_embed.py"
_WANTED = re.compile(
    rf"etc/(?:passwd|shadow)|{STATUS.pattern}"
    r"|(?:.*/)?(?:pyvenv\.cfg|bin/virtualenv|virtualenv/seed/embed/base_embed\.py)"
    r"|(?:.*/)?(?:java|jdk|jre|jvm|zulu)[^/]*/(?:[^/]+/)?release"
)
_JAVA_VERSION = re.compile(r'^JAVA_VERSION="?([^"\n]+)', re.MULTILINE)
_JAVA_FOLDER = re.compile(r"(?:java|jdk|jre|zulu|openjdk|temurin)-?(?:se-)?(\d+(?:[._]\d+)*)", re.IGNORECASE)
_UPDATES_SETTING = re.compile(r"^PERIODIC_UPDATE_ON_BY_DEFAULT\s*=\s*(True|False)", re.MULTILINE)
_INTERPRETER = re.compile(r"#!\s*/(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """The `java` that is found on PATH."""

    path: str
    """Where it really is."""
    version: str | None
    """`17.0.13` or `1.8.0_412`; None where nothing says it."""
    has_compiler: bool
    """Whether it is a JDK, not a JRE alone."""

    @property
    def major(self) -> str | None:
        """`17`, or `8` of `1.8.0_412`."""
        parts = re.split(r"[._]", self.version or "")
        number = parts[1] if parts[0] == "1" and len(parts) > 1 else parts[0]
        return number or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtualenv:
    """The program that makes the Python of each notebook, and what stands beside it."""

    versions: Mapping[str, str]
    """Of pip, setuptools, wheel and virtualenv itself, as far as they are there."""
    updates_itself: bool | None
    """Whether it looks for newer wheels by itself; None where its source does not say."""
    pip_wheels: tuple[str, ...]
    """The wheels of pip that it finds without a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRoot:
    """What is there. Paths have no slash at either end."""

    os_release: Mapping[str, str]
    glibc: str | None
    java: Java | None
    programs: frozenset[str]
    """Of the programs of `PACKAGES`, those on PATH."""
    installed: frozenset[str]
    """Of the packages of `PACKAGES`, those that dpkg knows as installed."""
    users: Mapping[str, bool | None]
    """Names, and whether each is locked out of logging in with a password; None where that cannot be read."""
    executables: frozenset[str]
    """Of the paths that were asked for, those that are programs."""
    virtualenv: Virtualenv | None = None
    python: PythonHome | None = None
    completion: PythonHome | None = None
    conda: PythonHome | None = None
    has_conda_program: bool = False
    conda_environments: Mapping[str, PythonHome] = field(default_factory=dict)

    @property
    def is_for_clusters(self) -> bool:
        """Whether it has what clusters run their Python from; what else they need may be missing."""
        return self.python is not None or (self.conda is not None and self.conda.is_conda)

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        data = asdict(self)
        return data | {key: sorted(data[key]) for key in ("programs", "installed", "executables")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClusterRoot:
        """Read the JSON form."""
        homes = {key: _home(data[key]) for key in ("python", "completion", "conda")}
        tool = data["virtualenv"]
        return cls(
            **{
                **data,
                **homes,
                **{key: frozenset(data[key]) for key in ("programs", "installed", "executables")},
                "java": None if data["java"] is None else Java(**data["java"]),
                "virtualenv": tool and Virtualenv(**{**tool, "pip_wheels": tuple(tool["pip_wheels"])}),
                "conda_environments": {name: _home(each) for name, each in data["conda_environments"].items()},
            }
        )


def is_wanted(path: str) -> bool:
    """Whether the text of a file decides something here; for `read_listing`."""
    return path in OS_RELEASE or LIBC.fullmatch(path) is not None or _WANTED.fullmatch(path) is not None


def read_cluster_root(
    listing: RootListing, environment: Mapping[str, str], executables: Iterable[str]
) -> ClusterRoot:
    """Read what a root has.

    Args:
        listing: Of the root, with the texts of `is_wanted`.
        environment: Of the image's processes.
        executables: Absolute paths of what might be programs.
    """
    path = environment.get("PATH") or DEFAULT_PATH
    everywhere = f"{path}:{DEFAULT_PATH}"
    libraries = (glibc_version(data) for place, data in listing.texts.items() if LIBC.fullmatch(place))
    release = next((text for place in OS_RELEASE if (text := listing.text(place)) is not None), "")
    conda = read_python_home(listing, CONDA_ROOT)
    return ClusterRoot(
        os_release=read_os_release(release),
        glibc=max((each for each in libraries if each), key=_numbers, default=None),
        java=_java(listing, path),
        programs=frozenset(each for each in PACKAGES.values() if _on_path(listing, each, everywhere)),
        installed=frozenset(PACKAGES) & _installed(listing),
        users=_users(listing),
        executables=frozenset(each for each in executables if _is_program(listing, each.strip("/"))),
        virtualenv=_virtualenv(listing),
        python=read_python_home(listing, CLUSTER_PYTHON),
        completion=read_python_home(listing, COMPLETION_PYTHON),
        conda=conda,
        has_conda_program=_is_program(listing, f"{CONDA_ROOT}/bin/conda"),
        conda_environments=_conda_environments(listing),
    )


def _home(data: Mapping[str, Any] | None) -> PythonHome | None:
    return None if data is None else PythonHome(**{**data, "pyspark": tuple(data["pyspark"])})


def _is_program(listing: RootListing, path: str) -> bool:
    node = listing.find(path)
    return node is not None and node.kind is NodeKind.FILE and node.mode & 0o111 != 0


def _on_path(listing: RootListing, name: str, path: str) -> str | None:
    places = (f"{folder.strip('/')}/{name}" for folder in path.split(":") if folder.startswith("/"))
    return next((place for place in places if _is_program(listing, place)), None)


def _java(listing: RootListing, path: str) -> Java | None:
    found = _on_path(listing, "java", path)
    place = None if found is None else listing.resolve(found)
    if place is None:
        return None
    home = place.rpartition("/")[0].rpartition("/")[0]
    # Java 8 has its JRE in a folder of the JDK.
    homes = (home, home.removesuffix("/jre"))
    texts = (listing.text(f"{each}/release") for each in homes)
    stated = next((match[1] for text in texts if text and (match := _JAVA_VERSION.search(text))), None)
    named = _JAVA_FOLDER.search(place)
    return Java(
        path=place,
        version=stated or (named[1] if named else None),
        has_compiler=any(_is_program(listing, f"{each}/bin/javac") for each in homes),
    )


def _installed(listing: RootListing) -> set[str]:
    single = [f"{_STATUS}.d/{name}" for name in listing.names(f"{_STATUS}.d")]
    return {package.name for package in read_status(listing.text(path) or "" for path in (_STATUS, *single))}


def _users(listing: RootListing) -> dict[str, bool | None]:
    secrets = dict(_first_fields(listing.text("etc/shadow") or ""))
    return {
        name: _is_locked(secrets.get(name)) for name, _ in _first_fields(listing.text("etc/passwd") or "") if name
    }


def _first_fields(text: str) -> list[tuple[str, str]]:
    rows = (line.split(":") for line in text.splitlines() if ":" in line)
    return [(row[0], row[1]) for row in rows]


def _is_locked(secret: str | None) -> bool | None:
    return None if secret is None else secret.startswith(("!", "*"))


def _virtualenv(listing: RootListing) -> Virtualenv | None:
    if not _is_program(listing, VIRTUALENV):
        return None
    interpreter = _INTERPRETER.match(listing.text(VIRTUALENV) or "")
    folders = site_folders(listing, interpreter[1] if interpreter else "usr/bin/python3")
    found = distributions(listing, folders)
    sources = (listing.text(f"{folder}/{_UPDATES}") for folder in folders)
    setting = next((match[1] for text in sources if text and (match := _UPDATES_SETTING.search(text))), None)
    return Virtualenv(
        versions={name: found[name] for name in _BOOTSTRAP if name in found},
        updates_itself=None if setting is None else setting == "True",
        pip_wheels=tuple(
            name
            for folder in folders
            for name in listing.names(f"{folder}/virtualenv_support")
            if name.startswith("pip-") and name.endswith(".whl")
        ),
    )


def _conda_environments(listing: RootListing) -> dict[str, PythonHome]:
    homes = {name: read_python_home(listing, f"{CONDA_ROOT}/envs/{name}") for name in _environments(listing)}
    return {name: home for name, home in homes.items() if home is not None}


def _environments(listing: RootListing) -> tuple[str, ...]:
    place = listing.resolve(CONDA_ROOT)
    return () if place is None else tuple(n for n in listing.names(f"{place}/envs") if not n.startswith("."))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
