"""A process that does one thing and ends: what it makes is not looked through for garbage again and again.

MLflow's import makes a million objects that all stay. Python's collector goes through them whenever they have
grown by a quarter, and once more at the end, where memory goes anyhow: two fifths of the CPU time of a build
that finds all but its model in the caches.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects before the collector looks at them, and how many such rounds before it looks at older ones: so much
#: may be garbage in cycles, which is some ten megabytes.
_NEW, _ROUNDS, _OLD_ROUNDS = 100_000, 50, 10


@contextmanager
def short_process() -> Iterator[None]:
    """Collect garbage seldom while the context lasts, and what is left after it not at all."""
    before = gc.get_threshold()
    gc.set_threshold(_NEW, _ROUNDS, _OLD_ROUNDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.freeze()
