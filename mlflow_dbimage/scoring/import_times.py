"""How long imports take, by package: which one makes a model slow to start."""

from __future__ import annotations

import importlib.machinery
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List

_REPORTED = 10


class ImportTimes:
    """Counts while `watched` is open."""

    def __init__(self) -> None:
        self._threads = threading.local()
        self._whole: Dict[str, float] = {}
        self._own: Dict[str, float] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Time the code of every module that is imported meanwhile, and the loading of shared libraries."""
        places = [
            (importlib.machinery.SourceFileLoader, "exec_module", lambda module: module.__name__),
            (importlib.machinery.ExtensionFileLoader, "create_module", lambda spec: spec.name),
            (importlib.machinery.ExtensionFileLoader, "exec_module", lambda module: module.__name__),
        ]
        before = [(kind, name, kind.__dict__.get(name)) for kind, name, _ in places]
        for kind, name, name_of in places:
            setattr(kind, name, self._timed(getattr(kind, name), name_of))
        try:
            yield
        finally:
            for kind, name, method in before:
                if method is None:
                    delattr(kind, name)
                else:
                    setattr(kind, name, method)

    def _timed(self, method: Callable[..., Any], name_of: Callable[[Any], str]) -> Callable[..., Any]:
        def timed(loader: Any, subject: Any) -> Any:
            package = name_of(subject).split(".")[0]
            running: List[List[Any]] = self._threads.__dict__.setdefault("running", [])
            outermost = all(package != each for each, _ in running)
            frame: List[Any] = [package, 0.0]
            running.append(frame)
            started = time.perf_counter()
            try:
                return method(loader, subject)
            finally:
                seconds = time.perf_counter() - started
                running.pop()
                self._own[package] = self._own.get(package, 0.0) + seconds - frame[1]
                if outermost:
                    self._whole[package] = self._whole.get(package, 0.0) + seconds
                if running:
                    running[-1][1] += seconds

        return timed

    def slowest(self) -> List[Dict[str, Any]]:
        """List the slowest packages: `seconds` with all that they import first, `own_seconds` without."""
        order = sorted(self._own, key=lambda package: -self._own[package])
        return [
            {
                "module": package,
                "seconds": round(self._whole.get(package, 0.0), 3),
                "own_seconds": round(self._own[package], 3),
            }
            for package in order[:_REPORTED]
        ]
