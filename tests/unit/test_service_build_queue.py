"""The queue carries ids, most urgent first, in a file or in Redis."""

from __future__ import annotations

import contextlib

import pytest

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.service.build_queue import BuildQueue, open_queue
from services.ports import free_port
from services.redis_server import redis_server


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.redis)])
def queue(request, tmp_path):
    url = request.getfixturevalue("redis").new_database() if request.param == "redis" else None
    with contextlib.closing(open_queue(url, tmp_path / "data" / "queue.db")) as queue:
        yield queue


def test_ids_come_out_most_urgent_first(queue):
    assert queue.is_empty() and queue.receive() is None
    for build_id, priority in ((1, 0), (2, 5), (3, -5), (4, 5)):
        queue.send(build_id, priority)
    assert not queue.is_empty()
    assert [queue.receive() for _ in range(5)] == [2, 4, 1, 3, None]


def test_the_same_id_may_be_sent_twice(queue):
    queue.send(7)
    queue.send(7)
    assert [queue.receive(), queue.receive(), queue.receive()] == [7, 7, None]


def test_what_is_no_id_is_dropped():
    class Storage:
        def dequeue(self):
            return b"rm -rf /"

    assert BuildQueue(Storage()).receive() is None


def test_a_file_is_shared_by_processes_that_open_it(tmp_path):
    first, second = (open_queue(None, tmp_path / "queue.db") for _ in range(2))
    first.send(3)
    assert second.receive() == 3
    for each in (first, second):
        each.close()


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "queue.db").write_text("this is not a database, and has enough bytes to be seen as none" * 20)
    with pytest.raises(ServiceError, match="the service's queue failed") as caught:
        open_queue(None, tmp_path / "queue.db")
    assert caught.value.code == "queue-failed"


@pytest.mark.redis
def test_redis_may_be_away_and_come_back(tmp_path):
    port = free_port()
    queue = open_queue(f"redis://:secret@127.0.0.1:{port}/0", tmp_path / "unused.db")
    with pytest.raises(ServiceError) as caught:
        queue.send(1)
    assert caught.value.code == "queue-failed" and "secret" not in str(caught.value)
    queue.close()
    queue = open_queue(f"redis://127.0.0.1:{port}/0", tmp_path / "unused.db")
    with redis_server(tmp_path, port=port):
        queue.send(1)
    with pytest.raises(ServiceError):
        queue.receive()
    with redis_server(tmp_path, port=port):
        assert queue.receive() is None
    queue.close()
