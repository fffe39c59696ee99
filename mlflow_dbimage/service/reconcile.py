"""Compares the model registry with the table of builds, and queues what no event told.

MLflow's webhooks are lost when its server restarts, within a minute of being made, and where the door refused
them; Unity Catalog has none. So the registry is asked, now and then, for what the rules are about: versions
created since the last look, where aliases point, which versions have tags.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.events import OWN_TAGS, Event, Kind
from mlflow_dbimage.service.intake import RECONCILED, Service, take_in
from mlflow_dbimage.service.rules import Rule, choose

# Clocks differ, and a version may be visible some time after it was created.
_OVERLAP = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version that the registry has."""

    model: str
    version: str
    created: float
    """In seconds since 1970."""
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Where an alias points."""

    model: str
    alias: str
    version: str


class RegistryLook(Protocol):
    """One look at a registry; every method raises ServiceError `store-failed`."""

    @property
    def requests(self) -> int:
        """How many requests it cost so far."""

    def versions(self, since: float) -> Iterable[Version]:
        """Return the versions created since then, and perhaps older ones."""

    def tagged(self, key: str, value: str) -> Iterable[Version]:
        """Return the versions that may have a tag of these patterns."""

    def aliases(self) -> Iterable[Alias]:
        """Return all aliases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look at the registry gave."""

    queued: tuple[Build, ...]
    seen: int
    """Versions, aliases and tags that a rule is about."""
    requests: int
    """That the look cost the registry."""
    seconds: float
    failures: tuple[str, ...] = ()
    """Of single events, in words: the others are queued nevertheless."""


def reconcile(
    service: Service, look: RegistryLook, *, since: float | None = None, clock: Callable[[], float] = time.time
) -> Findings:
    """Queue what the rules want of the registry and the table has not.

    Args:
        service: With rules and table.
        look: At the registry.
        since: Ask for versions created since then; the last time by default, or when the service began.
        clock: The time in seconds since 1970.

    Raises:
        ServiceError: `store-failed`, `database-failed`.
    """
    began, last = clock(), service.database.moment(RECONCILED)
    seen, queued, failures = 0, list[Build](), list[str]()
    for event in _events(service.rules, look, since if since is not None else (last or began) - _OVERLAP, began):
        rule = choose(event, service.rules)
        if rule is None:
            continue
        seen += 1
        try:
            queued += _queued(event, rule, service)
        except DbimageError as error:
            service.database.check()  # if it is away, that is what is wrong, and not the event
            failures.append(f"no build for `{event}`: {error.message}")
    # Of what failed, versions are seen again as long as looks overlap, aliases and tags at every look.
    service.database.keep_moment(RECONCILED, began, instead_of=last)
    seconds = clock() - began
    return Findings(
        queued=tuple(queued), seen=seen, requests=look.requests, seconds=seconds, failures=tuple(failures)
    )


def _queued(event: Event, rule: Rule, service: Service) -> tuple[Build, ...]:
    """Queue what a rule wants for an event, and return it, if there was none."""
    if service.builds.known(event, rule.order(event)):
        return ()
    taken = take_in(event, service)
    return (taken.build,) if taken.new and taken.build is not None else ()


def _events(rules: Sequence[Rule], look: RegistryLook, since: float, now: float) -> Iterator[Event]:
    """Give what the registry has as the events that led to it; only of kinds that a rule is about."""
    kinds = {rule.on for rule in rules}
    if "version-created" in kinds:
        for version in sorted(look.versions(since), key=_in_order):
            if version.created >= since:
                yield _event("version-created", version, now)
    if "alias-set" in kinds:
        for alias in look.aliases():
            yield _event("alias-set", alias, now, alias=alias.alias)
    for key, value in sorted({(rule.tag, rule.value) for rule in rules if rule.on == "tag-set"}):
        for version in sorted(look.tagged(key, value), key=_in_order):
            for name, text in version.tags:
                if not name.startswith(OWN_TAGS):
                    yield _event("tag-set", version, now, key=name, value=text)


def _event(kind: Kind, thing: Version | Alias, now: float, **others: Any) -> Event:
    return Event(kind=kind, model=thing.model, version=thing.version, received=now, **others)


def _in_order(version: Version) -> tuple[str, int]:
    return version.model, int(version.version)
