"""Tells the model registry how its versions' builds stand, as tags of the version; and keeps log and receipt.

    dbimage_status    queued, building, built (proven, if the model ran in it), failed, cancelled or superseded
    dbimage_image     where the image is
    dbimage_digest    its manifest's
    dbimage_error     why there is none

Names have no dots, which Unity Catalog refuses. What is told is the newest build of a version that still
counts, so that it does not matter who tells what when. A registry that may not be written to does not fail a
build: the build's log says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.service.build import Build, Status
from mlflow_dbimage.service.intake import Service

WORDS: Mapping[Status, str] = {"running": "building"}

_LONGEST_ERROR = 250  # of a tag's value in Unity Catalog 256, and elsewhere more
_ENDED: tuple[Status, ...] = ("built", "failed")
_TRIES = 6
_PAUSE = 5.0


class TagRegistry(Protocol):
    """A registry, as this module needs it."""

    def set_tags(self, model: str, version: str, tags: Mapping[str, str | None]) -> None:
        """Set tags of a model version; None takes one away, if it is there.

        Raises:
            InputError: `model-not-found`.
            ServiceError: `store-failed`.
        """

    def keep_files(self, model: str, version: str, folder: str, files: Mapping[str, str]) -> bool:
        """Keep texts as artifacts of the run that made a model version; False where it has none.

        Raises:
            InputError: `model-not-found`.
            ServiceError: `store-failed`.
        """


class Teller:
    """Tells a registry what the table of builds says.

    Args:
        service: With the table.
        registry: To tell.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, service: Service, registry: TagRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._registry = registry
        self._clock = clock
        self._failures: dict[int, int] = {}
        self._not_before = 0.0
        self._tries = _TRIES

    def tell(self) -> int:
        """Tell what is new, and return how many builds that were; after a failure nothing for a while.

        Raises:
            ServiceError: `database-failed`.
        """
        told = 0
        for build in self._service.builds.untold():
            if self._clock() < self._not_before:
                break
            if self._tell(build):
                told += 1
        return told

    def _tell(self, build: Build) -> bool:
        try:
            self._registry.set_tags(build.model, build.version, _tags(self._newest(build)))
            if build.status in _ENDED:
                self._keep(build)
        except DbimageError as error:
            return self._failed(build, error)
        self._failures.pop(build.id, None)
        self._tries = _TRIES
        self._service.builds.tell(build.id, build.status)
        return True

    def _newest(self, build: Build) -> Build:
        """Return the newest build of the version that still counts."""
        counting: tuple[Status, ...] = ("queued", "running", *_ENDED)
        found = self._service.builds.find(model=build.model, version=build.version, status=counting, limit=1)
        return found[0] if found else build

    def _keep(self, build: Build) -> None:
        log = self._service.logs.read(build.id, limit=100_000).text
        files = {"build.log": log, "build.json": json.dumps(build.to_dict(), indent=2, sort_keys=True)}
        self._registry.keep_files(build.model, build.version, f"dbimage/build-{build.id}", files)

    def _failed(self, build: Build, error: DbimageError) -> bool:
        """Try again later what may pass; what does not is noted in the build's log, and given up."""
        failures = self._failures.get(build.id, 0) + 1
        self._failures[build.id] = failures
        self._not_before = self._clock() + _PAUSE * failures
        if failures >= self._tries or error.exit_code != 5:
            self._failures.pop(build.id)
            self._not_before = 0.0
            self._tries = 1 if error.exit_code == 5 else _TRIES  # the others need not wait as long in vain
            self._service.logs.append(build.id, f"the registry was not told `{build.status}`: {error.message}\n")
            self._service.builds.tell(build.id, build.status)
        return False


def _tags(build: Build) -> dict[str, str | None]:
    status = WORDS.get(build.status, build.status)
    if build.status == "built":
        return {
            "dbimage_image": build.image,
            "dbimage_digest": build.digest,
            "dbimage_error": None,
            "dbimage_status": "proven" if _is_proven(build) else status,
        }
    if build.status == "failed":
        text = f"{build.error_code}: {build.error_text}"
        return {"dbimage_error": text[:_LONGEST_ERROR], "dbimage_status": status}
    return {"dbimage_status": status}


def _is_proven(build: Build) -> bool:
    verification = (build.receipt or {}).get("verification")
    return bool(verification and verification["proven"])
