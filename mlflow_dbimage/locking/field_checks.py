"""Whether the packages of a lock that somebody else wrote may be believed: each field has the form that we write.

Hashes and file names name files of this machine's caches, versions and paths name files of an environment, and
locations are given to programs. One that is of another form might name any file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from packaging.utils import InvalidWheelFilename, is_normalized_name, parse_wheel_filename

from mlflow_dbimage.locking.locked_packages import CondaPackage, Decision, LockedWheel, WheelSource
from mlflow_dbimage.version_pins import is_version

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PYTHON = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,4}){1,2}[0-9a-z.+]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!~-]{0,254}")
_PIP_VERSION = re.compile(r"[A-Za-z0-9!+._-]+")
_PIP_NAME = re.compile(r"[a-z0-9-]{1,255}")
# Source: conda enhancement proposal 26, "Identifying packages and channels"; versions as conda has them.
_CONDA_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,254}")
# Numbers of more digits are none for those who read them.
_CONDA_VERSION = re.compile(
    r"(?!.*[0-9]{19})(?:[0-9]{1,9}!)?[0-9a-zA-Z]+(?:[._][0-9a-zA-Z]+)*_?(?:\+[0-9a-zA-Z]+(?:[._][0-9a-zA-Z]+)*_?)?"
)
_CONDA_BUILD = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+]{0,63}")
_CONDA_ARCHIVE = re.compile(r".+-[^-]+-[^-]+\.(?:conda|tar\.bz2)")
# What people read, and no terminal obeys.
_TEXT = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_ANYTHING = re.compile(r".*", re.DOTALL)
_SUBDIR = re.compile(r"noarch|[a-z]+-[a-z0-9_]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-f.]*:[0-9a-f:.]+")

_INDEX_SCHEMES = frozenset({"http", "https", "file"})
_CHANNEL_SCHEMES = _INDEX_SCHEMES | {"s3", "gcs", "oci"}
_GIT_SCHEMES = _INDEX_SCHEMES | {"ssh", "git"}
# Those in which a user without a password is no secret, as in `ssh://git@host`.
_SCHEMES_OF_USERS = frozenset({"ssh"})

# What others keep in 64 bits.
_LARGEST_NUMBER = (1 << 63) - 1
# Of what is refused, characters.
_MOST_SHOWN = 100
# Milliseconds at the end of the year 9999: a later time is none.
_LAST_TIMESTAMP = 253_402_300_799_999


def checked_conda(package: CondaPackage) -> CondaPackage:
    """Return a conda package as it is.

    Raises:
        ValueError: A field has another form than ours.
    """
    checked_archive(package.name, package.version, package.sha256, package.file_name)
    _match(_CONDA_BUILD, "build string", package.build)
    _match(_SUBDIR, "platform of conda", package.subdir)
    _number("build number", package.build_number)
    _size(package.size)
    _line("channel", package.channel)
    for url in (package.url, package.canonical_url):
        checked_url(url, _CHANNEL_SCHEMES)
        if not unquote(url).endswith(f"/{package.file_name}"):
            raise ValueError(f"{_shown(url)} is not where `{package.file_name}` is")
    if not unquote(package.canonical_url).endswith(f"/{package.subdir}/{package.file_name}"):
        raise ValueError(f"{_shown(package.canonical_url)} is not where a channel has `{package.file_name}`")
    _metadata(package.metadata)
    return package


def checked_archive(name: str, version: str, sha256: str, file_name: str) -> None:
    """Look at what names a conda package.

    Raises:
        ValueError: A field has another form than ours.
    """
    _match(_CONDA_NAME, "name of a conda package", name)
    _match(_CONDA_VERSION, "version of conda", version)
    _match(_SHA256, "sha256", sha256)
    _match(_FILE_NAME, "file name", file_name)
    _match(_CONDA_ARCHIVE, "file name of a conda package", file_name)
    if name == "python":
        checked_python(version)


def checked_wheel(wheel: LockedWheel) -> LockedWheel:
    """Return a wheel as it is.

    Raises:
        ValueError: A field has another form than ours.
    """
    _match(_PIP_NAME, "name of a distribution", wheel.name)
    if not is_normalized_name(wheel.name):
        raise ValueError(f"{_shown(wheel.name)} is no normalised name of a distribution")
    _pip_version(wheel.version)
    _match(_SHA256, "sha256", wheel.sha256)
    _wheel_file(wheel.file_name)
    _size(wheel.size)
    if wheel.url is not None:
        checked_url(wheel.url, _INDEX_SCHEMES)
    if wheel.path is not None:
        checked_path(wheel.path)
    if wheel.built_from is not None:
        _source(wheel.built_from)
    for path in wheel.omitted:
        checked_path(path)
    return wheel


def checked_decision(decision: Decision) -> Decision:
    """Return a decision as it is.

    Raises:
        ValueError: A field is no line of text.
    """
    checked_lines([decision.distribution, decision.owner, decision.reason])
    return decision


def checked_python(version: str) -> str:
    """Return the version of a Python as it is: `3.11.7`, or `3.11` where the patch is not known.

    Raises:
        ValueError: It is none.
    """
    return _match(_PYTHON, "version of Python", version)


def checked_path(path: str) -> str:
    """Return a path as it is.

    Raises:
        ValueError: It is not relative, leaves its folder, or has what commands a terminal.
    """
    plain = isinstance(path, str) and path.isprintable()
    if not plain or not path or path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{_shown(path)} is no path inside its folder")
    return path


def checked_url(url: str, schemes: frozenset[str] = _CHANNEL_SCHEMES) -> str:
    """Return a URL as it is.

    Raises:
        ValueError: It has another scheme, credentials, white space, no plain host, or no plain file name at its
            end.
    """
    _line("URL", url)
    parts = urlsplit(url)
    if parts.password is not None or (parts.username is not None and parts.scheme not in _SCHEMES_OF_USERS):
        raise ValueError("a URL has credentials")
    last = unquote(parts.path).rstrip("/").rsplit("/", 1)[-1]
    written = url.rstrip("/").rsplit("/", 1)[-1]  # a query counts, where only the last part of a URL is taken
    odd = {" ", "\\"} & set(url) or {"[", "]"} & set(parts.path)
    if odd or not _has_host(parts) or _FILE_NAME.fullmatch(last) is None or written in (".", ".."):
        raise ValueError(f"{_shown(url)} is no URL of a package")
    if parts.scheme not in schemes:
        raise ValueError(f"{_shown(url)} has none of the schemes {', '.join(sorted(schemes))}")
    return url


def checked_lines(texts: Sequence[Any]) -> tuple[str, ...]:
    """Return lines of text as they are.

    Raises:
        ValueError: They are no list, or one is no line.
    """
    lines = tuple(_list("lines", texts))
    for text in lines:
        _match(_TEXT, "text for people", text)
    return lines


def is_sha256(text: object) -> bool:
    """Whether something is the sha256 of a file, in 64 hexadecimal digits."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def checked_once(names: Iterable[str]) -> None:
    """Look whether each package is there once.

    Raises:
        ValueError: One is there twice.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{_shown(name)} is there twice")
        seen.add(name)


def _has_host(parts: SplitResult) -> bool:
    """Whether a URL names its host and port, if any, as every reader of URLs has them."""
    if parts.scheme == "file":
        return parts.netloc in ("", "localhost")
    return parts.port != 0 and _HOST.fullmatch(parts.hostname or "") is not None


def _source(source: WheelSource) -> None:
    _line("place of a source", source.location)
    if source.kind == "git":
        checked_url(source.location, _GIT_SCHEMES)
    elif source.kind == "path":
        checked_path(source.location)
    elif source.kind != "sdist":
        raise ValueError(f"{_shown(source.kind)} is no kind of source")
    elif source.has_place:
        checked_url(source.location, _INDEX_SCHEMES)
    else:
        _match(_FILE_NAME, "file name", source.location)
    if source.kind == "git" or source.commit is not None:
        _match(_COMMIT, "commit", source.commit)
    if source.sha256 is not None:
        _match(_SHA256, "sha256", source.sha256)
    if source.subdirectory is not None:
        checked_path(source.subdirectory)


def _metadata(metadata: Mapping[str, Any]) -> None:
    """Look at what an installation records besides; what else a channel says is passed over."""
    if not isinstance(metadata, Mapping):
        raise ValueError(f"{_shown(metadata)} is no metadata of a package")
    if metadata.get("noarch") not in (None, True, "python", "generic"):
        raise ValueError(f"{_shown(metadata['noarch'])} is no kind of `noarch`")
    given = {key: value for key, value in metadata.items() if value is not None}
    tracked = given.get("track_features", [])
    texts = [given.get(key, "") for key in ("arch", "platform", "features", "license", "license_family")]
    texts += [tracked] if isinstance(tracked, str) else _list("track_features", tracked)
    for text in texts:
        _match(_ANYTHING, "text", text)
    for key in ("depends", "constrains"):
        for text in _list(key, given.get(key, [])):
            if not _match(_TEXT, key, text).strip():
                raise ValueError(f"{_shown(text)} is no {key}")
    if metadata.get("md5") is not None:
        _match(_MD5, "md5", metadata["md5"])
    if metadata.get("python_site_packages_path") is not None:
        checked_path(metadata["python_site_packages_path"])
    if "timestamp" in metadata and _number("timestamp", metadata["timestamp"]) > _LAST_TIMESTAMP:
        raise ValueError(f"{_shown(metadata['timestamp'])} is no timestamp")


def _wheel_file(file_name: str) -> None:
    _match(_FILE_NAME, "file name", file_name)
    try:
        parse_wheel_filename(file_name)
    except InvalidWheelFilename:
        raise ValueError(f"{_shown(file_name)} is no file name of a wheel") from None


def _pip_version(version: str) -> None:
    if not is_version(_match(_PIP_VERSION, "version", version)):
        raise ValueError(f"{_shown(version)} is no version")


def _size(size: int | None) -> None:
    if size is not None:
        _number("size", size)


def _number(what: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
        raise ValueError(f"{_shown(value)} is no {what}")
    return value


def _line(what: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise ValueError(f"{_shown(text)} is no {what}")


def _list(what: str, value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{_shown(value)} is no list of {what}")
    return list(value)


def _match(form: re.Pattern[str], what: str, text: object) -> str:
    if not isinstance(text, str) or form.fullmatch(text) is None:
        raise ValueError(f"{_shown(text)} is no {what}")
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
