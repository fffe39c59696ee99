"""Kinds of settings: how a value is read from text, TOML or Python, and how it is shown without its secrets.

A kind's `read` takes a string (of `-C` or the environment), or what TOML or a Python caller gives in its
place, and raises ValueError with what it wants instead. `settings` puts the key and the source around that.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from string import Formatter
from urllib.parse import urlsplit

from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.image_location import ImageLocation, from_home, parse_base, parse_target
from mlflow_dbimage.oci.descriptor import Platform

#: Processors that conda, wheels and images all have names for.
ARCHITECTURES = ("amd64", "arm64", "ppc64le", "s390x")

#: Addresses that somebody may have.
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_YES = ("true", "1", "yes")
_NO = ("false", "0", "no")

# From `://` to the last `@` of a word, but for the `@` of an image's digest.
_USERINFO = re.compile(r"(?<=://)[^\s,]*@(?!sha256:)")
# Conda channels may carry their token as a path: `https://host/t/<token>/channel`.
_CONDA_TOKEN = re.compile(r"(?<=/t/)[^\s,/]+")
_QUERY = re.compile(r"(?<=\?)[^\s,#]+")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_FILE_MARK = "file:"
_SHORTEST_TOKEN = 16
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,39}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value."""

    wants: str
    """What its values look like, for documentation and messages."""
    read: Callable[[object, Path], object]
    """Reads a value; relative paths start at the folder given. Raises ValueError with what is wanted instead,
    or UsageError with what is wrong."""
    clearable: bool = True
    """Whether an empty text means that nothing is set."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that nobody is shown."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        return "***"


def masked(text: str) -> str:
    """Hide the credentials of every URL in a text: user and password, conda tokens, queries."""
    for pattern in (_USERINFO, _CONDA_TOKEN, _QUERY):
        text = pattern.sub("***@" if pattern is _USERINFO else "***", text)
    return text


def shown(value: object) -> object:
    """Give the JSON form of a value, its secrets masked."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return masked(str(value))


def quoted(value: object) -> str:
    """Show a value that could not be read: any part of it might be a password before an `@`."""
    text = masked(str(value))
    if "***@" not in text and "@" in text:
        text = "***@" + text.rpartition("@")[2]
    return f"`{text}`"


def _text(value: object, _: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value.strip()


def _flag(value: object, _: Path) -> bool:
    text = str(value).strip().lower()
    if text in _YES:
        return True
    if text in _NO:
        return False
    raise ValueError("`true` or `false`")


def _integer(low: int, high: int) -> Kind:
    wants = f"a whole number from {low} to {high}"

    def read(value: object, _: Path) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value).strip()):
            raise ValueError(wants)
        number = int(str(value))
        if not low <= number <= high:
            raise ValueError(wants)
        return number

    return Kind(wants, read, clearable=False)


def _choice(*words: str) -> Kind:
    wants = " or ".join((", ".join(f"`{word}`" for word in words[:-1]), f"`{words[-1]}`"))

    def read(value: object, _: Path) -> str:
        if value not in words:
            raise ValueError(wants)
        return str(value)

    return Kind(wants, read, clearable=False)


def _items(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("a list of texts, or one text with commas between")
    return tuple(part.strip() for part in parts if part.strip())


def _list(value: object, _: Path) -> tuple[str, ...]:
    return _items(value)


def _url(value: object, folder: Path) -> str:
    text = _text(value, folder)
    parts = urlsplit(text)  # raises ValueError for broken IPv6 hosts
    if parts.scheme not in ("http", "https", "file") or not (parts.hostname or parts.scheme == "file"):
        raise ValueError("a URL of http, https or file")
    return text


def _urls(value: object, folder: Path) -> tuple[str, ...]:
    return tuple(_url(item, folder) for item in _items(value))


def _channels(value: object, folder: Path) -> tuple[str, ...]:
    return tuple(_url(item, folder) if "://" in item else item for item in _items(value))


def _table(value: object, _: Path) -> Mapping[str, str]:
    if isinstance(value, Mapping):
        table = dict(value)
    else:
        parts = [item.partition("=") for item in _items(value)]
        table = {name.strip(): text.strip() for name, _, text in parts}
    if not all(isinstance(part, str) and part for pair in table.items() for part in pair):
        raise ValueError("a table of texts, or `name=value` with commas between")
    return table


def _url_table(value: object, folder: Path) -> Mapping[str, str]:
    return {name: _url(item, folder) for name, item in _table(value, folder).items()}


def _base_table(value: object, folder: Path) -> Mapping[str, ImageLocation]:
    return {name: _base(item, folder) for name, item in _table(value, folder).items()}


def _rules(value: object, folder: Path) -> tuple[Mapping[str, object], ...]:
    """Read the tables of rules; what is in them is for `service.rules`, but for what hangs on the folder."""
    tables = _parsed_json(value) if isinstance(value, str) else value
    if not isinstance(tables, list | tuple) or not all(isinstance(table, Mapping) for table in tables):
        raise ValueError("a list of tables")
    return tuple(_anchored_rule(table, folder) for table in tables)


def _anchored_rule(table: Mapping[str, object], folder: Path) -> Mapping[str, object]:
    target = _target(table["target"], folder) if "target" in table else None
    return dict(table) if target is None else {**table, "target": str(target)}


def _parsed_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _service_url(*schemes: str) -> Kind:
    wants = f"a URL of {' or '.join(schemes)}"

    def read(value: object, folder: Path) -> str:
        text = _text(value, folder)
        if text.partition(":")[0].partition("+")[0] not in schemes or "://" not in text:
            raise ValueError(wants)
        return text

    return Kind(wants, read)


def _secrets(value: object, folder: Path) -> tuple[Secret, ...]:
    """Read secrets; what is wrong with them is told without them."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise UsageError("bad-value", "a secret is a text")
    found = [text.strip() for part in parts for text in _secret_texts(part.strip(), folder)]
    return tuple(Secret(text) for text in found if text)


def _secret_texts(text: str, folder: Path) -> list[str]:
    if not text.startswith(_FILE_MARK):
        return [text]
    path = folder / from_home(text.removeprefix(_FILE_MARK))
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("bad-value", f"the secret's file `{path}` cannot be read") from error


def _token(value: object, folder: Path) -> Secret:
    found = _secrets(value, folder)
    if len(found) != 1 or len(found[0].text) < _SHORTEST_TOKEN:
        raise UsageError("bad-value", f"a token is one text of at least {_SHORTEST_TOKEN} characters")
    return found[0]


def _header(value: object, folder: Path) -> str:
    text = _text(value, folder)
    if _HEADER.fullmatch(text) is None:
        raise ValueError("the name of an HTTP header")
    return text


def _networks(value: object, _: Path) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(item) for item in _items(value))
    except ValueError as error:
        raise ValueError("addresses or networks, such as `10.0.0.7` or `10.0.0.0/8`") from error


def _base(value: object, folder: Path) -> ImageLocation:
    return _anchored(parse_base(_text(value, folder)), folder)


def _target(value: object, folder: Path) -> ImageLocation | None:
    location = parse_target(_text(value, folder))
    return None if location is None else _anchored(location, folder)


def _anchored(location: ImageLocation, folder: Path) -> ImageLocation:
    if location.transport not in ("oci", "docker-archive", "rootfs"):
        return location
    return replace(location, path=folder / location.path)


def _platform(value: object, folder: Path) -> Platform:
    platform = Platform.parse(_text(value, folder))
    if platform.os != "linux" or platform.architecture not in ARCHITECTURES:
        raise ValueError(" or ".join(f"`linux/{each}`" for each in ARCHITECTURES))
    return platform


def _moment(value: object, folder: Path) -> datetime:
    """Read a time; a date alone means to its end, and a time without a zone is UTC."""
    if isinstance(value, str):
        value = _parsed_moment(value.strip())
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=timezone.utc) + timedelta(days=1)
    raise ValueError("a date or time such as `2024-05-17` or `2024-05-17T08:00:00Z`")


def _parsed_moment(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        # Python 3.10 reads no `Z`.
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        return None


def _path(value: object, folder: Path) -> Path:
    if isinstance(value, Path):
        value = str(value)
    return folder / from_home(_text(value, folder))


def _file(value: object, folder: Path) -> Path:
    path = _path(value, folder)
    if not path.is_file():
        raise ValueError("the path of a file that exists")
    return path


def _tag(value: object, folder: Path) -> str:
    text = _text(value, folder)
    if _TAG.fullmatch(text) is None:
        raise ValueError("a tag: at most 40 letters, digits, `.`, `_` and `-`, first a letter, digit or `_`")
    return text


def _repository(value: object, folder: Path) -> str:
    text = _text(value, folder)
    fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
    if not set(fields) <= {"prefix", "name"}:
        raise ValueError("a path in which only `{prefix}` and `{name}` are replaced")
    if _REPOSITORY.fullmatch(text.format(prefix="p", name="n").strip("/")) is None:
        raise ValueError("a repository path of lower-case letters, digits, `.`, `_`, `-` and `/`")
    return text


TEXT = Kind("a text", _text)
FLAG = Kind("`true` or `false` (also `1`, `0`, `yes`, `no`)", _flag, clearable=False)
NAMES = Kind("a list of texts, commas between", _list)
URL = Kind("a URL", _url)
URLS = Kind("a list of URLs, commas between", _urls)
CHANNELS = Kind("a list of names or URLs, commas between", _channels)
URL_TABLE = Kind("a table `name = URL`; as a text `name=URL`, commas between", _url_table)
BASE_TABLE = Kind("a table `runtime = base image`; as a text `runtime=base image`, commas between", _base_table)
BASE = Kind("the location of a base image", _base)
TARGET = Kind("the location of a destination", _target)
PLATFORM = Kind(" or ".join(f"`linux/{each}`" for each in ARCHITECTURES), _platform, clearable=False)
MOMENT = Kind("a date or time, such as `2024-05-17` or `2024-05-17T08:00:00Z`", _moment)
PATH = Kind("a path", _path, clearable=False)
FILE = Kind("the path of a file", _file)
SECRETS = Kind("a list of secrets, commas between; `file:PATH` has one a line", _secrets)
TOKEN = Kind("a secret of at least 16 characters, or `file:PATH` that has it", _token)
HEADER = Kind("the name of an HTTP header", _header)
NETWORKS = Kind("a list of addresses and networks, commas between", _networks)
RULES = Kind("a list of tables; as a text, JSON", _rules)
TAG = Kind("a tag", _tag)
REPOSITORY = Kind("a path with `{prefix}` and `{name}`", _repository, clearable=False)
choice = _choice
integer = _integer
service_url = _service_url
