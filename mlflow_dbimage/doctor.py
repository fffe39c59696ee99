"""What this machine can do, as findings: each with its topic, its verdict, and how to mend what is not right.

What is looked at, and how, is behind `Probes`; here is only which of it matters for these settings, and what
to say of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.settings import Settings

#: A cold build of a large environment needs about so much: packages, prefix, layers.
ENOUGH_SPACE = 10 * 10**9

_DEFAULT_CHANNELS = ("conda-forge",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    ok: bool | None
    """None where builds do without it, or it was not looked at."""
    message: str
    remedy: str | None = None


class Probes(Protocol):
    """Looks at things; each answers in a few words, within seconds, or raises `DbimageError`."""

    def python(self) -> str:
        """Tell the running Python and system."""

    def mlflow(self) -> str:
        """Tell MLflow's version and the store that it is set to."""

    def uv(self) -> str:
        """Run the uv binary, and tell its version."""

    def engine(self) -> str:
        """Ask the Docker engine for its version and platform."""

    def registry(self, location: ImageLocation) -> str:
        """Ask a registry whether it lets us in, and tell where credentials were found."""

    def channel(self, name: str) -> str:
        """Ask a conda channel, by name or URL, for its index."""

    def index(self, url: str | None) -> str:
        """Ask a package index for a package; None is the one that uv is set to."""

    def sandbox(self) -> str:
        """Tell how code of models is kept apart from this machine."""

    def free_space(self, folder: Path) -> int:
        """Return the free bytes where a folder is, or would be made, after writing a file there."""

    def bootstrapper(self) -> str:
        """Find the program that makes `apt:` bases, and tell its version."""

    def base(self, location: ImageLocation) -> str:
        """Find a base image."""


def findings(settings: Settings, probes: Probes) -> tuple[Finding, ...]:
    """Look at everything that builds with these settings may need, at once, and report in a fixed order."""
    checks: list[Callable[[], Finding]] = [
        partial(_check, "python", probes.python),
        partial(_check, "mlflow", probes.mlflow),
        partial(_check, "uv", probes.uv),
        partial(_disk, settings, probes),
        partial(_sandbox, settings, probes),
        partial(_engine, settings, probes),
        *_destination_checks(settings, probes),
        *_channel_checks(settings, probes),
        *_index_checks(settings, probes),
        *_base_checks(settings, probes),
    ]
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        return tuple(pool.map(lambda check: check(), checks))


def _check(topic: str, probe: Callable[[], str], remedy: str | None = None) -> Finding:
    try:
        return Finding(topic=topic, ok=True, message=probe())
    except DbimageError as error:
        return Finding(topic=topic, ok=False, message=error.message, remedy=error.hint or remedy)


def _disk(settings: Settings, probes: Probes) -> Finding:
    folder = settings.cache_dir
    try:
        free = probes.free_space(folder)
    except DbimageError as error:
        remedy = error.hint or "set `cache_dir` to a folder that can be written to"
        return Finding(topic="disk", ok=False, message=error.message, remedy=remedy)
    message = f"{free / 10**9:.1f} GB are free for the caches in `{folder}`"
    if free >= ENOUGH_SPACE:
        return Finding(topic="disk", ok=True, message=message)
    return Finding(
        topic="disk",
        ok=False,
        message=f"{message}; a large environment needs {ENOUGH_SPACE // 10**9} GB",
        remedy="free some space, prune the caches, or set `cache_dir` to a larger disk",
    )


def _sandbox(settings: Settings, probes: Probes) -> Finding:
    found = _check("sandbox", probes.sandbox)
    if found.ok or settings.sandbox == "required":
        return found
    return replace(found, ok=None, message=f"{found.message}; models are loaded all the same, with limits alone")


def _engine(settings: Settings, probes: Probes) -> Finding:
    found = _check("engine", probes.engine)
    if found.ok or settings.destination.transport == "docker-daemon":
        return found
    return Finding(
        topic="engine",
        ok=None,
        message=f"{found.message}; images are built all the same, and scored from their environment",
        remedy=found.remedy or "start Docker to run images here",
    )


def _destination_checks(settings: Settings, probes: Probes) -> list[Callable[[], Finding]]:
    location = settings.destination
    if location.transport != "docker":
        return []
    remedy = "log in to the registry as for `docker` or `podman`, or name another destination"
    return [partial(_check, "registry", partial(probes.registry, location), remedy)]


def _channel_checks(settings: Settings, probes: Probes) -> list[Callable[[], Finding]]:
    named = settings.channels or (*_DEFAULT_CHANNELS, *settings.channel_map)
    remedy = "map the channel's name to a mirror that can be reached, with `channel_map`"
    return [
        _unless_offline(settings, "channel", partial(probes.channel, name), remedy)
        for name in dict.fromkeys(named)
    ]


def _index_checks(settings: Settings, probes: Probes) -> list[Callable[[], Finding]]:
    remedy = "set `index_url` to an index that can be reached"
    return [
        _unless_offline(settings, "index", partial(probes.index, url), remedy)
        for url in (settings.index_url, *settings.extra_index_url)
    ]


def _unless_offline(
    settings: Settings, topic: str, probe: Callable[[], str], remedy: str
) -> Callable[[], Finding]:
    if settings.offline:
        return lambda: Finding(topic=topic, ok=None, message="not asked: the network is off (`offline`)")
    return partial(_check, topic, probe, remedy)


def _base_checks(settings: Settings, probes: Probes) -> list[Callable[[], Finding]]:
    wished = [settings.base_image] if settings.base_image is not None else []
    locations = dict.fromkeys([*wished, *settings.bases.values()])
    checks: list[Callable[[], Finding]] = [
        partial(_check, "base", partial(probes.base, location))
        for location in locations
        if location.transport != "apt"
    ]
    needed = any(location.transport == "apt" for location in locations)
    return [*checks, partial(_bootstrapper, probes, needed=needed)]


def _bootstrapper(probes: Probes, *, needed: bool) -> Finding:
    found = _check("base", probes.bootstrapper)
    if found.ok or needed:
        return found
    return Finding(
        topic="base",
        ok=None,
        message=f"{found.message}; only `apt:` bases need it",
        remedy=found.remedy,
    )
