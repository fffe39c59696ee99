"""From event to queued build: what the webhook's door, the comparison with the registry and jobs all call."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.service.build import Build
from mlflow_dbimage.service.build_logs import BuildLogs
from mlflow_dbimage.service.build_queue import BuildQueue, open_queue
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import Database, open_database, sqlite_url
from mlflow_dbimage.service.events import Event
from mlflow_dbimage.service.rules import Rule, choose, read
from mlflow_dbimage.settings import Settings

#: Name of the moment since which the registry may have had events that nobody told; first, when the service began.
RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What all processes of the service share."""

    rules: tuple[Rule, ...]
    database: Database
    builds: Builds
    logs: BuildLogs
    queue: BuildQueue

    def close(self) -> None:
        """Close the connections to table and queue."""
        self.database.close()
        self.queue.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of an event."""

    build: Build | None
    """None where no rule wants one."""
    new: bool
    """Whether the build was not there before."""


def open_service(settings: Settings) -> Service:
    """Open what the settings name: rules, database, queue.

    Raises:
        UsageError: `bad-value`, a rule or a URL is wrong.
        ServiceError: `database-failed`, `queue-failed`.
    """
    rules = read(settings.rules)
    database = open_database(settings.service_database or sqlite_url(settings.data_dir / "builds.db"))
    if database.moment(RECONCILED) is None:
        database.keep_moment(RECONCILED, time.time(), instead_of=None)
    return Service(
        rules=rules,
        database=database,
        builds=Builds(database),
        logs=BuildLogs(database),
        queue=open_queue(settings.service_queue, settings.data_dir / "queue.db"),
    )


def take_in(event: Event, service: Service) -> Taken:
    """Queue the build that the first matching rule wants for an event; when this returns, it is durable.

    Raises:
        ServiceError: `database-failed`.
    """
    rule = choose(event, service.rules)
    if rule is None:
        return Taken(build=None, new=False)
    build, new = service.builds.request(event, rule.order(event))
    if new:
        announce(build, service.queue)
    return Taken(build=build, new=new)


def announce(build: Build, queue: BuildQueue) -> None:
    """Send a build's id to the workers; where the queue is away, their next sweep finds the build."""
    if build.status != "queued":
        return
    try:
        queue.send(build.id, build.priority)
    except ServiceError:
        return
