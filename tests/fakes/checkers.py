"""A checker that gives what it is told to, and remembers that it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.image_check import CheckLimits, CheckRun, How
from mlflow_dbimage.oci.image import Image


class GivenChecker:
    """Gives a report, or what else a check may end with (`image_check.Checker`)."""

    def __init__(
        self,
        how: How,
        report: Mapping[str, Any] | None = None,
        *,
        obstacle: str | None = None,
        raises: DbimageError | None = None,
        **ended: Any,
    ) -> None:
        self.how: How = how
        self.asked = 0
        self._obstacle = obstacle
        self._raises = raises
        self._run = CheckRun(how=how, report=report, **{"exit_code": 0, "messages": "", **ended})

    def obstacle(self, image: Image) -> str | None:
        return self._obstacle

    def check(self, image: Image, limits: CheckLimits) -> CheckRun:
        self.asked += 1
        if self._raises is not None:
            raise self._raises
        return self._run
