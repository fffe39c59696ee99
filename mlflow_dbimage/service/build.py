"""One build: what is to be made, for which event, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal, get_args

from mlflow_dbimage.service.events import Kind
from mlflow_dbimage.setting_kinds import shown

Status = Literal["queued", "running", "built", "failed", "cancelled", "superseded"]

STATUSES: tuple[Status, ...] = get_args(Status)

#: States that a build leaves again by itself.
ACTIVE: tuple[Status, ...] = ("queued", "running")

_MOMENTS = ("not_before", "lease_until", "created", "started", "ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a rule wants built for an event."""

    rule: str
    name: str
    request: Mapping[str, Any]
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A row of the table of builds; moments are seconds since 1970."""

    id: int
    model: str
    version: str
    alias: str | None
    """That the event set; the build is dropped if the alias has moved on."""
    kind: Kind
    """Of the event."""
    rule: str
    """Name of the rule that wanted it."""
    name: str
    """Of the deployment."""
    request: Mapping[str, Any]
    """`model_uri`, `target` and `config`, as `BuildRequest.from_strings` takes them."""
    cause: str
    """The event in words."""
    priority: int
    """Higher is sooner."""
    status: Status
    stage: str
    """What it is at, in words; empty before and after."""
    attempts: int
    """How often it was begun."""
    cancelling: bool
    """Whether somebody wants it cancelled and its worker has not yet done so."""
    not_before: float
    worker: str | None
    lease_until: float | None
    """When its worker counts as dead unless it renews."""
    created: float
    started: float | None
    """Of the last attempt."""
    ended: float | None
    image: str | None
    digest: str | None
    sent_bytes: int | None
    """That the destination lacked."""
    error_code: str | None
    """Of the last attempt; of a queued build, why it is tried again."""
    error_text: str | None
    receipt: Mapping[str, Any] | None
    told: str
    """The status that the registry was told last; empty before."""

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ACTIVE

    def seconds(self, now: float) -> float | None:
        """How long its last attempt took, or takes; None before the first."""
        if self.started is None:
            return None
        return (self.ended if self.ended is not None else now) - self.started

    @property
    def shown_request(self) -> dict[str, Any]:
        """The request as people may see it: the credentials of URLs are masked."""
        return {key: shown(value) for key, value in self.request.items()}

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form: moments as ISO 8601 in UTC, and the credentials of URLs masked."""
        data = {**asdict(self), "request": self.shown_request}
        for key in _MOMENTS:
            data[key] = _written(data[key])
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """Some of a build's log."""

    text: str
    after: int
    """Ask for what comes after this next time."""


def _written(moment: float | None) -> str | None:
    if not moment:
        return None
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
