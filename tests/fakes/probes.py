"""Probes that answer as a test says."""

from __future__ import annotations

from mlflow_dbimage.errors import DbimageError


class FakeProbes:
    """Answers every question, but for those named in `failures`, and remembers what was asked.

    Args:
        failures: By probe, the error to raise.
        free: Free bytes.
    """

    def __init__(self, failures: dict[str, DbimageError] | None = None, free: int = 50 * 10**9) -> None:
        self.failures = failures or {}
        self.free = free
        self.asked: list[tuple[str, object]] = []

    def _answer(self, probe: str, about: object = None) -> str:
        self.asked.append((probe, about))
        if probe in self.failures:
            raise self.failures[probe]
        return f"{probe} is well"

    def python(self):
        return self._answer("python")

    def mlflow(self):
        return self._answer("mlflow")

    def uv(self):
        return self._answer("uv")

    def engine(self):
        return self._answer("engine")

    def registry(self, location):
        return self._answer("registry", location)

    def channel(self, name):
        return self._answer("channel", name)

    def index(self, url):
        return self._answer("index", url)

    def sandbox(self):
        return self._answer("sandbox")

    def free_space(self, folder):
        self._answer("disk", folder)
        return self.free

    def bootstrapper(self):
        return self._answer("bootstrapper")

    def base(self, location):
        return self._answer("base", location)
