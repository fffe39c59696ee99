"""The uv program: started with a small environment of its own, credentials never on its command line."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from mlflow_dbimage.backends.credentials_in_urls import scrubbed, secrets_of
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.locking.environment_solver import IndexAccess
from mlflow_dbimage.target_markers import MACHINES

# The glibc versions that uv knows as platforms, newest first; every base that we can meet has the oldest.
_GLIBC = (*range(40, 30, -1), 28, 17)

# What of our environment uv may see; the last of them it finds credentials by.
_NAMES = (
    "PATH",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "UV_HTTP_TIMEOUT",
    "UV_SYSTEM_CERTS",
    "UV_NATIVE_TLS",
    "UV_INSECURE_HOST",
    "UV_CONFIG_FILE",
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "NETRC",
    "UV_KEYRING_PROVIDER",
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
)

_BUILDS = "builds-v0"

_ALWAYS = {
    "LC_ALL": "C.UTF-8",
    "NO_COLOR": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_LINK_MODE": "copy",
    "GIT_TERMINAL_PROMPT": "0",
    # Built wheels must not depend on when or in which order they are built.
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "315532801",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UvResult:
    """What a run of uv gave."""

    code: int
    output: str
    errors: str
    """Without credentials."""


class UvProgram:
    """uv with its cache. It builds nothing: building is running somebody else's code.

    Args:
        cache: uv's cache folder.
    """

    def __init__(self, cache: Path) -> None:
        self.version = uv_version()
        self.cache = cache

    def run(
        self,
        arguments: Sequence[str],
        access: IndexAccess,
        *,
        folder: Path,
        text: str = "",
        configuration: Path | None = None,
    ) -> UvResult:
        """Run uv to its end.

        Indexes are not told by the environment, which programs that uv starts inherit: pass `index_lines`.

        Args:
            arguments: Without credentials.
            access: Whether uv may use the network, and whose credentials to keep out of its answer.
            folder: The working folder.
            text: Standard input.
            configuration: A file in the place of the user's or the system's configuration.

        Raises:
            ServiceError: `program-failed`, uv cannot be started.
        """
        command = [str(uv_binary()), *arguments, *(["--offline"] if access.offline else [])]
        environment = uv_environment(self.cache)
        if configuration is not None:
            environment.pop("UV_NO_CONFIG", None)
            environment["UV_CONFIG_FILE"] = str(configuration)
        _close_builds(self.cache)
        try:
            done = subprocess.run(
                command, input=text.encode(), cwd=folder, env=environment, capture_output=True, check=False
            )
        except OSError as error:
            raise ServiceError("program-failed", f"cannot start uv: {error.strerror}") from error
        secrets = secrets_of((*access.index_urls, *all_indexes(access)))
        return UvResult(
            code=done.returncode,
            output=done.stdout.decode(errors="replace"),
            errors=scrubbed(done.stderr.decode(errors="replace"), secrets),
        )


def uv_environment(cache: Path) -> dict[str, str]:
    """Return uv's variables.

    Args:
        cache: Its cache folder.
    """
    environment = {name: os.environ[name] for name in _NAMES if name in os.environ}
    return environment | _ALWAYS | {"UV_CACHE_DIR": str(cache)} | _configuration(environment)


def wanted_to_build(result: UvResult) -> bool:
    """Whether a run failed for nothing else than that uv would have had to build a source distribution."""
    return result.code != 0 and _BUILDS in result.errors


def _close_builds(cache: Path) -> None:
    """Put a file where uv makes the folder of its builds, so that it cannot begin one."""
    place = cache / _BUILDS
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    place.touch()


def index_lines(access: IndexAccess) -> list[str]:
    """Return the indexes as lines of a requirements file, with credentials: for standard input only."""
    default, extra = _indexes(access)
    return [*([f"--index-url {default}"] if default else []), *(f"--extra-index-url {url}" for url in extra)]


def all_indexes(access: IndexAccess) -> tuple[str, ...]:
    """Return the URLs of all indexes that uv is told of, with credentials."""
    default, extra = _indexes(access)
    return ((default,) if default else ()) + extra


def _indexes(access: IndexAccess) -> tuple[str | None, tuple[str, ...]]:
    """Return the default index and those beside it: as configured, else as the user's environment says."""
    default = access.index_url or os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    extra = access.extra_index_urls
    if not extra:
        words = f"{os.environ.get('UV_INDEX', '')} {os.environ.get('UV_EXTRA_INDEX_URL', '')}".split()
        extra = tuple(re.sub(r"^[\w-]+=", "", word) for word in words)
    return default and re.sub(r"^[\w-]+=", "", default), extra


def own_configuration() -> str:
    """Return digits that change with what uv itself is configured with on this machine, but for credentials.

    Empty where it is not configured: what such a uv resolves is the same elsewhere.
    """
    path = _configuration(dict(os.environ)).get("UV_CONFIG_FILE") or os.environ.get("UV_CONFIG_FILE")
    text = Path(path).read_text(errors="replace") if path and Path(path).is_file() else ""
    said = [*all_indexes(IndexAccess()), *text.splitlines()]
    plain = [re.sub(r"//[^/@\s\"']*@", "//", line) for line in said]
    return hashlib.sha256("\n".join(plain).encode()).hexdigest()[:12] if plain else ""


def uv_version() -> str:
    """Return the version of the uv that is installed."""
    from importlib.metadata import version

    return version("uv")


def uv_binary() -> Path:
    """Return the uv program.

    Raises:
        ServiceError: `program-failed`, it is missing.
    """
    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise ServiceError(
            "program-failed", "the uv program is missing", hint="install the package `uv` again"
        ) from error


def _configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """Let uv read the user's or the system's configuration, and never one that lies in a model."""
    if "UV_CONFIG_FILE" in environment:
        return {}
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for path in (home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        if path.is_file():
            return {"UV_CONFIG_FILE": str(path)}
    return {"UV_NO_CONFIG": "1"}


def platform_name(architecture: str, glibc_minor: int) -> str:
    """Return what uv calls a Linux with glibc 2.`glibc_minor`: the newest that it knows of those that fit."""
    known = next((minor for minor in _GLIBC if minor <= glibc_minor), _GLIBC[-1])
    return f"{MACHINES[architecture]}-manylinux_2_{known}"
