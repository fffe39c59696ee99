"""Python environments in an image's root: what they are, and which distributions they see.

Sources: PEP 405 (`pyvenv.cfg`), PyPA's "Recording installed projects" (`.dist-info`, `.egg-info`), and Debian's
Python policy, "Paths" (`dist-packages`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from mlflow_dbimage.oci.root_listing import NodeKind, RootListing

_MINOR = re.compile(r"python(3\.\d+)")
_METADATA = re.compile(r"(?P<name>[^-]+?)(?:-(?P<version>[^-]+)(?:-py3[^-]*)?)?\.(?:dist|egg)-info")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonHome:
    """A folder with a Python of its own: a virtual or a conda environment. Nothing in it need be there."""

    path: str
    kind: str
    """What is at the path itself: `directory`, `symlink`, ..."""
    is_conda: bool = False
    settings: Mapping[str, str] | None = None
    """Of its `pyvenv.cfg`; None where there is none."""
    version: str | None = None
    """`3.11.11`, or `3.11` where nothing says more."""
    program: str | None = None
    """Where its `bin/python3` leads; None where that is nowhere."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Versions of the distributions in it, by normalised name."""
    shared: Mapping[str, str] = field(default_factory=dict)
    """Of those that it sees besides, of the Python that it was made from."""
    pyspark: tuple[str, ...] = ()
    """Folders that bring pyspark."""

    @property
    def minor(self) -> str | None:
        """Its Python without the patch."""
        return None if self.version is None else ".".join(self.version.split(".")[:2])

    @property
    def sees_system(self) -> bool:
        """Whether it sees the distributions of the Python that it was made from."""
        return (self.settings or {}).get("include-system-site-packages", "").lower() == "true"

    @property
    def distributions(self) -> dict[str, str]:
        """All that is imported in it; what is its own hides what is shared."""
        return {**self.shared, **self.own}


def read_python_home(listing: RootListing, path: str) -> PythonHome | None:
    """Read the environment at a path; None where nothing is there."""
    node = listing.nodes.get(path)
    if node is None:
        return None
    place = listing.resolve(path)
    if place is None or listing.nodes[place].kind is not NodeKind.DIRECTORY:
        return PythonHome(path=path, kind=node.kind.value)
    text = listing.text(f"{place}/pyvenv.cfg")
    settings = None if text is None else _assignments(text)
    version = _version(settings or {}, listing, place)
    own = _folders(listing, place, version)
    shared = [] if settings is None else _folders_of_base(listing, settings, version)
    return PythonHome(
        path=path,
        kind=node.kind.value,
        is_conda=f"{place}/conda-meta" in listing.nodes,
        settings=settings,
        version=version,
        program=listing.resolve(f"{place}/bin/python3") or listing.resolve(f"{place}/bin/python"),
        own=distributions(listing, own),
        shared=distributions(listing, shared),
        pyspark=tuple(
            f"{folder}/pyspark" for folder in (*own, *shared) if f"{folder}/pyspark/__init__.py" in listing.nodes
        ),
    )


def distributions(listing: RootListing, folders: Iterable[str]) -> dict[str, str]:
    """Return the versions of distributions by normalised name; the first folder that has one counts.

    The version is empty where the folder of its metadata does not say it.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for name in listing.names(folder):
            match = _METADATA.fullmatch(name)
            if match is not None:
                found.setdefault(canonicalize_name(match["name"]), match["version"] or "")
    return found


def site_folders(listing: RootListing, program: str) -> list[str]:
    """Return where a Python imports distributions from, as far as folders show it.

    Args:
        listing: Of the root.
        program: Path of the Python, such as `usr/bin/python3.11`.
    """
    minor = _MINOR.fullmatch(program.rpartition("/")[2])
    found: list[str] = []
    for path in dict.fromkeys((program, listing.resolve(program) or program)):
        prefix = path.rpartition("/")[0].rpartition("/")[0]
        found += _folders(listing, prefix, minor[1] if minor else None)
    return list(dict.fromkeys(found))


def _folders(listing: RootListing, prefix: str, version: str | None) -> list[str]:
    wanted = None if version is None else ".".join(version.split(".")[:2])
    found = []
    # Debian's Python in /usr looks into /usr/local first, and keeps apt's packages of all minors in one folder.
    for each in ("usr/local", "usr") if prefix == "usr" else (prefix,):
        for name in listing.names(f"{each}/lib"):
            match = _MINOR.fullmatch(name)
            if match is not None and wanted in (None, match[1]):
                found += [f"{each}/lib/{name}/{site}" for site in ("site-packages", "dist-packages")]
        if each == "usr":
            found.append("usr/lib/python3/dist-packages")
    return found


def _folders_of_base(listing: RootListing, settings: Mapping[str, str], version: str | None) -> list[str]:
    home = settings.get("home", "").strip("/")
    if not home or settings.get("include-system-site-packages", "").lower() != "true":
        return []
    place = listing.resolve(home) or home
    return _folders(listing, place.rpartition("/")[0], version)


def _version(settings: Mapping[str, str], listing: RootListing, place: str) -> str | None:
    stated = settings.get("version_info") or settings.get("version") or ""
    match = re.match(r"3\.\d+(?:\.\d+)?", stated)
    if match is not None:
        return match.group()
    names = (_MINOR.fullmatch(name) for name in listing.names(f"{place}/lib"))
    return next((match[1] for match in names if match is not None), None)


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}
