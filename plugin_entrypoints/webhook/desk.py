"""What every route works with, and how it gets it: one `Desk` for each application."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_logs import BuildLogs
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.deliveries import Trust
from mlflow_dbimage.service.intake import Service, announce
from plugin_entrypoints.webhook.access import Access, Caller
from plugin_entrypoints.webhook.meters import Meters

# PostgreSQL's `integer`: a greater number would be an error there, and is no build's anyway.
LARGEST_ID = 2**31 - 1

BuildId = Annotated[int, Path(ge=1, le=LARGEST_ID)]

_QUIET = 60.0

_log = logging.getLogger(__name__)


class Complaints:
    """Tells the operator what is wrong, each kind of thing once a minute: strangers must not fill the log.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}

    def say(self, kind: str, text: str) -> None:
        """Tell it, unless something of its kind was told just now."""
        now = self._clock()
        if now >= self._next.get(kind, now):
            self._next[kind] = now + _QUIET
            _log.warning("%s", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The service behind the door, and the door's own rules."""

    service: Service
    access: Access
    trust: Trust
    meters: Meters
    complaints: Complaints = field(default_factory=Complaints)
    clock: Callable[[], float] = time.time

    @property
    def builds(self) -> Builds:
        """The table of builds."""
        return self.service.builds

    @property
    def logs(self) -> BuildLogs:
        """What builds say."""
        return self.service.logs

    def rerun(self, build_id: int) -> tuple[Build, bool]:
        """Want a build once more, and return it, and whether it is new."""
        build, new = self.builds.rerun(build_id)
        if new:
            announce(build, self.service.queue)
        return build, new


class LoginNeeded(Exception):
    """Somebody asks for a page whom we do not know."""


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]

# Says in the OpenAPI what programs show; `Access` asks for it, since people and proxies have other ways.
_BEARER = HTTPBearer(auto_error=False, description="`service_token`")
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]


def _caller(request: Request, desk: AtDesk, _: _Bearer) -> Caller:
    """Let somebody in who asks for data.

    Raises:
        HTTPException: 401, nobody we know; 403, a change that somebody else's page asks for.
    """
    caller = desk.access.caller(request)
    if caller is None:
        raise HTTPException(401, "a token is needed", headers={"WWW-Authenticate": "Bearer"})
    if request.method not in ("GET", "HEAD") and not desk.access.may_change(request, caller):
        raise HTTPException(403, "another site asks for this")
    return caller


def _visitor(request: Request, desk: AtDesk) -> Caller:
    """Let somebody in who asks for a page.

    Raises:
        LoginNeeded: Nobody we know.
    """
    caller = desk.access.caller(request)
    if caller is None:
        raise LoginNeeded
    return caller


KnownCaller = Annotated[Caller, Depends(_caller)]
Visitor = Annotated[Caller, Depends(_visitor)]
