"""Credentials of registries, as Docker and podman keep them.

In this order: `DBIMAGE_REGISTRY_USERNAME` and `DBIMAGE_REGISTRY_PASSWORD`, for `DBIMAGE_REGISTRY_HOST` alone (a
build speaks to several registries, and the password is for one); `REGISTRY_AUTH_FILE`; Docker's `config.json`;
podman's `auth.json`. In a file, a helper for the host comes before the store, the store before what is written
there. A file or helper that cannot be understood counts as one that has none, and is told of if it was needed.

Sources: docker/cli `cli/config/configfile`, containers-auth.json(5), docker-credential-helpers' protocol.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from mlflow_dbimage.oci.documents import read_json

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_HUB_HOSTS = frozenset({"index.docker.io", "docker.io", "registry-1.docker.io"})
_TOKEN_USER = "<token>"  # noqa: S105  # what helpers say in place of a user
_HELPER_SECONDS = 30.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NOT_FOUND = b"credentials not found"
_REMARKS: Mapping[type[Exception], str] = {
    FileNotFoundError: "is not installed",
    PermissionError: "may not be started",
    subprocess.CalledProcessError: "failed",
    subprocess.TimeoutExpired: f"gave no answer within {_HELPER_SECONDS:.0f} seconds",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user and a secret; neither `repr` nor `str` shows the secret."""

    username: str
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)
    """Given to the token server in place of a password."""
    origin: str = ""
    """Where they were found, for people."""

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Helpers:
    """Asks credential helpers, each once for a key: some need a second, or ask a person.

    Args:
        remark: Told, in a few words, what cannot be asked or read.
    """

    def __init__(self, remark: Callable[[str], None] = lambda text: None) -> None:
        self.remark = remark
        self._answers: dict[tuple[str, str], Credentials | None] = {}

    def ask(self, name: Any, key: str) -> Credentials | None:
        """Ask the helper `docker-credential-<name>`; None where it has none, or fails."""
        if not isinstance(name, str) or _HELPER_NAME.fullmatch(name) is None:
            return None
        if (name, key) not in self._answers:
            self._answers[name, key] = self._asked(f"docker-credential-{name}", key)
        return self._answers[name, key]

    def _asked(self, program: str, key: str) -> Credentials | None:
        try:
            output = _output_of_helper(program, key)
            answer = read_json(output) if output is not None else {}
            username, secret = answer.get("Username"), answer.get("Secret")
        except (OSError, subprocess.SubprocessError, ValueError, AttributeError) as error:
            self.remark(f"`{program}` {_REMARKS.get(type(error), 'gives no answer that can be understood')}")
            return None
        if not isinstance(username, str) or not isinstance(secret, str) or not username or not secret:
            return None
        if username == _TOKEN_USER:
            return Credentials(username="", password="", identity_token=secret, origin=program)
        return Credentials(username=username, password=secret, origin=program)


def _output_of_helper(program: str, key: str) -> bytes | None:
    """Run a helper (docker-credential-helpers' protocol): the key on its input, JSON or a complaint on its output.

    Raises:
        OSError: It cannot be started.
        subprocess.SubprocessError: It failed, or took too long.
    """
    command = [program, "get"]
    done = subprocess.run(command, input=key.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False)
    if done.returncode == 0:
        return done.stdout
    if _NOT_FOUND in done.stdout.lower():
        return None
    raise subprocess.CalledProcessError(done.returncode, command)


def find_credentials(
    host: str,
    repository: str = "",
    environment: Mapping[str, str] | None = None,
    helpers: Helpers | None = None,
) -> Credentials | None:
    """Find the credentials for a repository, or None: many registries need none to read.

    Args:
        host: Of the registry, with its port.
        repository: Podman keeps credentials for parts of a registry.
        environment: Variables; this process's by default.
        helpers: Ask helper programs; keep them to ask each only once.
    """
    variables = os.environ if environment is None else environment
    helpers = helpers or Helpers()
    given = _from_variables(host, variables, helpers)
    if given is not None:
        return given
    for path in _files(variables):
        found = _from_file(path, host, repository, helpers)
        if found is not None:
            return found
    return None


def _from_variables(host: str, variables: Mapping[str, str], helpers: Helpers) -> Credentials | None:
    username = variables.get("DBIMAGE_REGISTRY_USERNAME")
    password = variables.get("DBIMAGE_REGISTRY_PASSWORD")
    meant = variables.get("DBIMAGE_REGISTRY_HOST")
    if username and password and not meant:
        helpers.remark(
            "`DBIMAGE_REGISTRY_HOST` does not say which registry the password in the environment is for"
        )
    if not username or not password or not (meant == host or {meant, host} <= _HUB_HOSTS):
        return None
    return Credentials(username=username, password=password, origin="DBIMAGE_REGISTRY_USERNAME")


def _files(variables: Mapping[str, str]) -> Iterator[Path]:
    home = Path(variables["HOME"]) if "HOME" in variables else Path.home()
    if "REGISTRY_AUTH_FILE" in variables:
        yield Path(variables["REGISTRY_AUTH_FILE"])
    yield Path(variables.get("DOCKER_CONFIG", home / ".docker")) / "config.json"
    if "XDG_RUNTIME_DIR" in variables:
        yield Path(variables["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield Path(variables.get("XDG_CONFIG_HOME", home / ".config")) / "containers" / "auth.json"


def _from_file(path: Path, host: str, repository: str, helpers: Helpers) -> Credentials | None:
    document = _document(path, helpers)
    keys = list(_keys(host, repository))
    own, store, entries = _table(document, "credHelpers"), document.get("credsStore"), _table(document, "auths")
    candidates = chain(
        (helpers.ask(own[key], key) for key in keys if key in own),
        (helpers.ask(store, key) for key in _keys(host, "") if store),  # podman's keys are unknown to stores
        (_from_entry(entries[key], str(path)) for key in keys if key in entries),
    )
    return next((found for found in candidates if found is not None), None)


def _document(path: Path, helpers: Helpers) -> dict[str, Any]:
    try:
        document = read_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        helpers.remark(f"`{path}` cannot be read")
        return {}
    return document if isinstance(document, dict) else {}


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _keys(host: str, repository: str) -> Iterator[str]:
    """Yield what an entry for the repository may be called, most particular first."""
    path = f"{host}/{repository}" if repository else host
    while "/" in path:
        yield path
        path = path.rpartition("/")[0]
    yield host
    yield f"https://{host}"
    yield f"https://{host}/"
    if host in _HUB_HOSTS:
        yield from _HUB_KEYS


def _from_entry(entry: Any, origin: str) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    username, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (ValueError, TypeError):
            return None
    token = str(entry.get("identitytoken") or "") or None
    if not (username and password) and token is None:
        return None
    return Credentials(username=username, password=password.rstrip("\0"), identity_token=token, origin=origin)
