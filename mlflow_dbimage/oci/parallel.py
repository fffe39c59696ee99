"""Work on several things at once, which ends early where one of them fails or somebody interrupts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

_MOST_THREADS = 4
_T = TypeVar("_T")
_R = TypeVar("_R")


def threads_that_compute() -> int:
    """Return how many threads that hash and compress keep this machine's cores busy.

    What they do in Python holds the interpreter, so that many would wait for each other.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _MOST_THREADS)


def in_parallel(work: Callable[[_T], _R], items: Iterable[_T], workers: int, stop: threading.Event) -> list[_R]:
    """Do the work for each item, and return the results in the items' order.

    Args:
        work: Called in threads.
        items: What it is called with.
        workers: Most calls at a time.
        stop: Set when a call fails or this thread is interrupted; work that takes long should look at it.

    Raises:
        BaseException: The first that a call raised; calls that had not begun are left out.
    """
    with ThreadPoolExecutor(workers) as pool:
        futures: list[Future[_R]] = []
        try:
            futures.extend(pool.submit(work, item) for item in items)
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise
