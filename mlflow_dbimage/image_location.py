"""Where images are: one grammar for bases and destinations, with the field's transport names.

    //host[:port]/path[:tag|@digest]   a registry; also `docker://...`, `host/path`, Docker Hub's short names
    oci:DIR[:tag|@digest]              an OCI layout directory; `/DIR` for short
    docker-daemon:[NAME:TAG]           the local Docker engine
    docker-archive:FILE                a file for `docker load`
    rootfs:FILE.tar[.gz|.xz|.zst]      a root file system; bases only
    apt:SUITE                          a Debian or Ubuntu suite; bases only

MLflow's targets are these behind `dbimage:`; `dbimage` alone is the default one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_dbimage.errors import UsageError

DOCKER_HUB = "index.docker.io"

_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
# OCI distribution specification 1.1, "Pulling manifests": repository names and tags.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
_SUITE = re.compile(r"[a-z][a-z0-9-]*")
_IDENTIFIER = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
# From the start to the last `@` that does not begin a digest: any part of it may be a password.
_SECRET = re.compile(r"\A.*@(?!sha256:)", re.DOTALL)
_ONLY_BASES = frozenset({"rootfs", "apt"})
_DEFAULT_TAG = "latest"

_FORMS = "`//host/path`, `docker://host/path`, `oci:DIR`, `docker-daemon:`, `docker-archive:FILE`"
_BASE_FORMS = f"{_FORMS}, `rootfs:FILE`, `apt:SUITE`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLocation:
    """A place for an image, or of one."""

    transport: str
    """`docker` (a registry), `oci`, `docker-daemon`, `docker-archive`, `rootfs` or `apt`."""
    host: str = ""
    """Of a registry, with its port."""
    name: str = ""
    """A repository, the name and tag in an engine, or a suite; may be empty where it is a prefix."""
    path: Path = Path()
    """Of a directory or file."""
    tag: str | None = None
    digest: str | None = None
    """`sha256:...`"""

    @property
    def repository(self) -> str:
        """The repository in a registry."""
        return self.name

    @property
    def has_reference(self) -> bool:
        """Whether it names a tag or digest."""
        return self.tag is not None or self.digest is not None

    @property
    def reference(self) -> str:
        """The digest, else the tag, else `latest`."""
        return self.digest or self.tag or _DEFAULT_TAG

    @property
    def public_name(self) -> str:
        """How to speak of it in an image: without directories, which only mean something on one machine."""
        if self.transport == "docker":
            return str(self)[2:]
        return str(replace(self, path=Path(self.path.name)))

    def __str__(self) -> str:
        suffix = (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")
        if self.transport == "docker":
            return f"//{self.host}/{self.name}{suffix}".rstrip("/")
        if self.transport in ("docker-daemon", "apt"):
            return f"{self.transport}:{self.name}"
        return f"{self.transport}:{self.path}{suffix}"


def parse_target(text: str) -> ImageLocation | None:
    """Read where an image shall go; None for the default destination.

    Raises:
        UsageError: `bad-location`.
    """
    bare = _without_scheme(text)
    if bare == "":
        return None
    location = _parse(bare, text, _FORMS)
    if location.transport == "docker-daemon":
        location = replace(location, name=location.name.rstrip("/"))
        if location.name and not _is_engine_name(location.name, may_have_tag=False):
            raise _bad(text, "what names of images begin with is a path, without a tag", _FORMS)
    if location.transport in _ONLY_BASES:
        raise _bad(text, "it can be a base image, but not a destination", _FORMS)
    if location.has_reference:
        raise _bad(text, "a destination has no tag or digest: they are made from the model's version", _FORMS)
    return location


def parse_base(text: str) -> ImageLocation:
    """Read where a base image is; names without a host are Docker Hub's.

    Raises:
        UsageError: `bad-location`.
    """
    location = _parse(_without_scheme(text) or text, text, _BASE_FORMS, hub=True)
    if location.transport == "docker" and not location.name:
        raise _bad(text, "it names no image", _BASE_FORMS)
    if location.transport == "docker-daemon" and not _is_engine_name(location.name, may_have_tag=True):
        raise _bad(text, "it names no image: an engine's images are named `NAME:TAG`", _BASE_FORMS)
    return location


def _without_scheme(text: str) -> str:
    scheme, _, rest = text.strip().partition(":")
    return rest if scheme.lower() == "dbimage" else text.strip()


def _parse(bare: str, text: str, forms: str, *, hub: bool = False) -> ImageLocation:
    if _UNPRINTABLE.search(bare):
        raise _bad(text, "it has control characters", forms)
    transport, _, rest = bare.partition(":")
    if bare.startswith("//"):
        return _registry(bare[2:], text, forms)
    if bare.startswith(("/", "./", "../", "~/")):
        return _layout(bare, text, forms)
    if transport in _READERS:
        return _READERS[transport](rest, text, forms)
    if bare.lower().startswith(("http://", "https://")):
        raise _bad(text, "a registry is named without `http:` or `https:`", forms)
    # As skopeo reads `docker://`: what has no host is of Docker Hub.
    explicit = bare.lower().startswith("docker://")
    bare = bare[len("docker://") :] if explicit else bare
    if "://" in bare:
        raise _bad(text, "it has none of the known forms", forms)
    if hub and bare and not _names_host(bare):
        return _registry(f"{DOCKER_HUB}/{bare}", text, forms)
    if explicit or ("/" in bare and _names_host(bare)):
        return _registry(bare, text, forms)
    raise _bad(text, "it has none of the known forms", forms)


def _names_host(bare: str) -> bool:
    """Whether a name begins with a registry; a colon without a slash after it begins a tag, not a port."""
    first, slash, _ = bare.partition("/")
    host = first if slash else re.split("[:@]", first)[0]
    return "." in host or ":" in host or host.lower() == "localhost"


def _is_engine_name(name: str, *, may_have_tag: bool) -> bool:
    if may_have_tag and _IDENTIFIER.fullmatch(name):
        return True
    host, slash, path = name.partition("/")
    path = path if slash and _names_host(name) and _HOST.fullmatch(host) else name
    repository, at, digest = path.partition("@")
    repository, tag = _split_tag(repository)
    has_reference = bool(tag or at)
    right = _reference_problem(repository, tag, digest) is None and repository != ""
    return right and (may_have_tag or not has_reference)


def _archive(rest: str, text: str, forms: str) -> ImageLocation:
    if not rest:
        raise _bad(text, "it names no file", forms)
    return ImageLocation(transport="docker-archive", path=from_home(rest))


def _rootfs(rest: str, text: str, forms: str) -> ImageLocation:
    return replace(_archive(rest, text, forms), transport="rootfs")


def _engine(rest: str, text: str, forms: str) -> ImageLocation:
    return ImageLocation(transport="docker-daemon", name=rest)


def _apt(rest: str, text: str, forms: str) -> ImageLocation:
    if _SUITE.fullmatch(rest) is None:
        raise _bad(text, "a suite is a word such as `bookworm`", forms)
    return ImageLocation(transport="apt", name=rest)


def _registry(rest: str, text: str, forms: str) -> ImageLocation:
    host, _, path = rest.partition("/")
    host = host.lower()
    if _SECRET.match(rest):
        raise UsageError(
            "bad-location",
            f"the location `{_shown(text)}` holds credentials",
            hint="leave them out, and log in: `docker login` and `podman login` keep them where we look",
        )
    if _HOST.fullmatch(host) is None:
        raise _bad(text, "it names no host", forms)
    path, _, digest = path.partition("@")
    path, tag = _split_tag(path)
    path = path.rstrip("/")
    if host in _HUB_NAMES:
        host = DOCKER_HUB
        path = path if "/" in path or not path else f"library/{path}"
    problem = _reference_problem(path, tag, digest)
    if not path and (tag or digest):
        problem = "it names a tag or digest, but no repository"
    if problem:
        raise _bad(text, problem, forms)
    return ImageLocation(transport="docker", host=host, name=path, tag=tag or None, digest=digest or None)


def from_home(text: str) -> Path:
    """Return a path as it is written, but for `~` and `~ada` at its beginning, where there is such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _layout(rest: str, text: str, forms: str) -> ImageLocation:
    directory, marker, digest = rest.partition("@sha256:")
    digest = marker[1:] + digest
    directory, tag = _split_tag(directory)
    if not directory:
        raise _bad(text, "it names no directory", forms)
    problem = _reference_problem("", tag, digest)
    if problem:
        raise _bad(text, problem, forms)
    path = from_home(directory)
    return ImageLocation(transport="oci", path=path, tag=tag or None, digest=digest or None)


_READERS: dict[str, Callable[[str, str, str], ImageLocation]] = {
    "oci": _layout,
    "docker-archive": _archive,
    "docker-daemon": _engine,
    "rootfs": _rootfs,
    "apt": _apt,
}


def _split_tag(path: str) -> tuple[str, str]:
    before, colon, tag = path.rpartition(":")
    return (before, tag) if colon and "/" not in tag else (path, "")


def _reference_problem(path: str, tag: str, digest: str) -> str | None:
    if path and _REPOSITORY.fullmatch(path) is None:
        return "a repository is of lower-case letters and digits, with `.`, `_`, `-` or `/` between"
    if tag and _TAG.fullmatch(tag) is None:
        return "what follows its last colon is no tag"
    if digest and _DIGEST.fullmatch(digest) is None:
        return "what follows its `@` is no digest (`sha256:` and 64 hexadecimal digits)"
    return None


def _bad(text: str, why: str, forms: str) -> UsageError:
    return UsageError(
        "bad-location", f"`{_shown(text)}` is no place for an image: {why}", hint=f"known forms are {forms}"
    )


def _shown(text: str) -> str:
    """Return a location as it was written, but for what may be a user name or a password."""
    return _UNPRINTABLE.sub("?", _SECRET.sub("***@", text))
