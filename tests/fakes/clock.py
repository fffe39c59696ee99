"""A clock that tests set, and that remembers how long it was asked to wait."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlflow_dbimage.oci.registry_transport import Clock


@dataclass
class FakeClock:
    """Time stands still until somebody waits, or the test advances it."""

    time: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, sleep=self._sleep)

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds
