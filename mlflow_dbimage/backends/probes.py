"""Looks at this machine and the services it reaches, for `doctor`; every look ends within seconds."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from mlflow_dbimage.backends import web_requests
from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.backends.sandbox import Limits, Sandbox
from mlflow_dbimage.backends.uv_program import UvProgram, index_lines
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.locking.environment_solver import IndexAccess
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.setting_kinds import masked
from mlflow_dbimage.settings import Settings

if TYPE_CHECKING:
    from urllib3 import PoolManager

_SECONDS = 10.0

# The index of a channel, in the forms that it may have; one of them is enough.
_CHANNEL_INDEXES = ("noarch/repodata.json.zst", "noarch/repodata.json")
_PROBED_PACKAGE = "pip"
_PROBED_REPOSITORY = "dbimage"


class MachineProbes:
    """Looks for real (`doctor.Probes`).

    Args:
        settings: Where channels, indexes and registries are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Looks run at once, and Python fills this table when it is first asked: others would see it half filled.
        sysconfig.get_config_vars()

    def python(self) -> str:
        """Tell the running Python and system."""
        return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"

    def mlflow(self) -> str:
        """Tell MLflow's version and the stores that it is set to."""
        import mlflow

        stores = dict.fromkeys((mlflow.get_tracking_uri(), mlflow.get_registry_uri()))
        where = " and ".join(f"`{masked(uri)}`" for uri in stores)
        return f"MLflow {version('mlflow-skinny')}, models of {where}"

    def uv(self) -> str:
        """Run the uv binary, and tell its version."""
        from uv import find_uv_bin

        try:
            return _run([find_uv_bin(), "--version"])
        except FileNotFoundError as error:
            raise ServiceError(
                "program-failed", "the `uv` program is missing", hint="install the package `uv` again"
            ) from error

    def engine(self) -> str:
        """Ask the Docker engine for its version and platform."""
        from mlflow_dbimage.backends.docker_engine import DockerEngine

        engine = DockerEngine.find()
        if engine is None:
            raise ServiceError("engine-failed", "no Docker engine answers")
        try:
            info = engine.info()
        finally:
            engine.close()
        return f"Docker {info.version} for {info.architecture}"

    def registry(self, location: ImageLocation) -> str:
        """Ask a registry for the tags of a repository, with the credentials that there are."""
        from mlflow_dbimage.backends.toolbox import Toolbox
        from mlflow_dbimage.oci.credentials import find_credentials
        from mlflow_dbimage.oci.registry import Repository

        repository = location.repository or _PROBED_REPOSITORY
        registry = Toolbox(self._settings, SilentProgress()).registry(location.host)
        Repository(registry, repository).tags()
        found = find_credentials(location.host, repository)
        return f"`{location.host}` lets us read, {'with credentials' if found else 'and asks for no credentials'}"

    def channel(self, name: str) -> str:
        """Ask a conda channel, by name or URL, for its index."""
        from mlflow_dbimage.backends.conda_records import channels_of

        places = channels_of([name], self._settings.channel_map)
        for place in places:
            _ask_channel(place.url)
        return f"`{masked(name)}` answers at {' and '.join(f'`{masked(place.url)}`' for place in places)}"

    def index(self, url: str | None) -> str:
        """Resolve one package with uv, which finds index and credentials as it does in builds."""
        name = "the index that `uv` is set to" if url is None else f"`{masked(url)}`"
        access = IndexAccess(index_url=url)
        with tempfile.TemporaryDirectory() as folder:
            uv = UvProgram(Path(folder) / "cache")
            done = uv.run(
                ["pip", "compile", "--quiet", "--no-deps", "--no-header", f"--python={sys.executable}", "-"],
                access,
                folder=Path(folder),
                text="\n".join([*index_lines(access), _PROBED_PACKAGE]),
            )
        if done.code != 0:
            reason = " ".join(done.errors.split())[:300]
            raise ServiceError("index-failed", f"{name} gives no packages: {reason}")
        return f"{name} answers"

    def sandbox(self) -> str:
        """Tell how code of models is kept apart from this machine."""
        sandbox = Sandbox.find(Limits(), required=True)
        return f"code of models runs in a sandbox, by {sandbox.confinement}"

    def free_space(self, folder: Path) -> int:
        """Return the free bytes where a folder is, or would be made."""
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                return shutil.disk_usage(existing).free
        except OSError as error:
            raise ServiceError(
                "disk-failed", f"the cache folder `{folder}` cannot be written to: {error.strerror}"
            ) from error

    def bootstrapper(self) -> str:
        """Find mmdebstrap, and tell its version."""
        program = shutil.which("mmdebstrap")
        if program is None:
            raise ServiceError(
                "program-failed",
                "`mmdebstrap`, which makes `apt:` bases, is not installed",
                hint="install it with `apt-get install mmdebstrap`",
            )
        return f"{_run([program, '--version']).strip()} makes `apt:` bases"

    def base(self, location: ImageLocation) -> str:
        """Find a base image; what is in a file or an engine is not read."""
        if location.transport in ("docker-archive", "rootfs") and not location.path.is_file():
            raise InputError("base-not-found", f"the base `{location}` does not exist")
        if location.transport in ("docker", "oci"):
            from mlflow_dbimage.backends import default_tools

            quiet = SilentProgress()
            tools = default_tools(self._settings, quiet)
            tools.bases.open(location, self._settings.platform, quiet)
        return f"the base `{location}` is there"


def _run(command: list[str]) -> str:
    """Run a program to its end, and return the line that it wrote."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError("program-failed", f"`{name}` did not end within {_SECONDS:.0f} s") from error
    except OSError as error:
        raise ServiceError("program-failed", f"`{name}` cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise ServiceError("program-failed", f"`{name}` failed: {' '.join(done.stderr.split())[:300]}")
    return done.stdout.strip()


def _ask_channel(url: str) -> None:
    if url.startswith("file:"):
        folder = Path(url2pathname(urlsplit(url).path))
        if not any((folder / name).is_file() for name in _CHANNEL_INDEXES):
            raise ServiceError("channel-failed", f"the channel `{url}` has no index")
        return
    answers = []
    for name in _CHANNEL_INDEXES:
        answers.append(_status(f"{url}/{name}", url))
        if answers[-1] == 200:
            return
    if {401, 403} & set(answers):
        raise ServiceError(
            "channel-failed",
            f"the channel `{masked(url)}` asks for credentials, and neither its URL nor netrc has them",
            hint="builds also use those of rattler's own store, which is not looked into here",
        )
    raise ServiceError("channel-failed", f"the channel `{masked(url)}` has no index: status {answers[0]}")


def _status(url: str, channel: str) -> int:
    import urllib3

    credentials = IndexCredentials([channel])
    try:
        with ExitStack() as pools:
            return web_requests.request(
                "HEAD",
                _bare(url),
                pool=lambda place: pools.enter_context(_pool(place)),
                headers=credentials.headers,
                failed=lambda reason: ServiceError("channel-failed", f"the channel `{masked(channel)}`: {reason}"),
                retries=False,
                timeout=urllib3.Timeout(_SECONDS),
            ).status
    except urllib3.exceptions.HTTPError as error:
        reason = type(getattr(error, "reason", None) or error).__name__
        raise ServiceError(
            "channel-failed", f"the channel `{masked(channel)}` cannot be reached: {reason}"
        ) from error


def _bare(url: str) -> str:
    """Return a URL without user and password, but with a conda token, which is part of the path."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _pool(url: str) -> PoolManager:
    import urllib3

    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()
