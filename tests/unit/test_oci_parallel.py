"""Work on several things at once."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mlflow_dbimage.oci.parallel import in_parallel


def test_results_come_in_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            assert second_is_done.wait(20)
        else:
            second_is_done.set()
        return item * 10

    assert in_parallel(work, [1, 2], 2, threading.Event()) == [10, 20]


def test_nothing_to_do_is_done() -> None:
    assert in_parallel(str, [], 4, threading.Event()) == []


def test_a_failure_stops_what_runs_and_leaves_out_what_has_not_begun() -> None:
    stop, begun = threading.Event(), []
    running = threading.Event()

    def work(item: str) -> bool:
        begun.append(item)
        if item == "fails":
            assert running.wait(20)
            raise ValueError("no")
        running.set()
        return stop.wait(20)

    with pytest.raises(ValueError, match="no"):
        in_parallel(work, ["runs", "fails", *"abcdefgh"], 2, stop)
    assert stop.is_set()
    assert len(begun) <= 3


def test_an_interruption_stops_what_runs() -> None:
    stop = threading.Event()

    def work(item: int) -> bool:
        if item == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return stop.wait(20)

    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, [0, 1], 2, stop)
    assert stop.is_set()
