"""Checks images in containers of a Docker engine (`image_check.Checker`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.image_check import CheckLimits, CheckRun, How
from mlflow_dbimage.oci.image import Image

if TYPE_CHECKING:
    from mlflow_dbimage.backends.docker_engine import DockerEngine

# What engines say of processors, and what images say.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_NAME = "dbimage-verify"


class EngineChecker:
    """Checks images in an engine. One that it lacks is loaded for the check, without the layers that it has.

    Args:
        find: Finds the engine, if one answers.
    """

    how: How = "engine"

    def __init__(self, find: Callable[[], DockerEngine | None]) -> None:
        self._find = find

    def obstacle(self, image: Image) -> str | None:
        """Say that no engine answers, or that it is for other machines than the image."""
        engine = self._find()
        if engine is None:
            return "no Docker engine answers"
        stated = engine.info().architecture
        if _ARCHITECTURES.get(stated, stated) == image.platform.architecture:
            return None
        return f"the Docker engine runs on {stated}, and the image is for {image.platform}"

    def check(self, image: Image, limits: CheckLimits) -> CheckRun:
        """Run the image's own check in a container.

        Raises:
            ServiceError: `engine-failed`.
        """
        engine = self._find()
        if engine is None:
            raise ServiceError("engine-failed", "the Docker engine no longer answers", hint="is it running?")
        with _loaded(engine, image) as reference:
            return engine.run_check(reference, limits)


@contextmanager
def _loaded(engine: DockerEngine, image: Image) -> Iterator[str]:
    """Have an image in an engine as long as the context lasts, and give its reference."""
    if engine.has(image):
        yield engine.identifier(image)
        return
    # A name of its own, so that another check of the same image may end before this one.
    name = f"{_NAME}:{image.digest.short}-{secrets.token_hex(4)}"
    engine.load(image, (name,))
    try:
        yield name
    finally:
        engine.untag(name)
