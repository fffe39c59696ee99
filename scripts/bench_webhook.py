"""How fast the webhook's door answers signed deliveries at a steady rate, and whether it loses any.

`python scripts/bench_webhook.py --rate 50 --seconds 60` serves the door in a process of its own, its table in an
SQLite file, and sends from this one; `--busy` processes of a build's niceness stand for builds under way. It fails
where a delivery is lost, or where the deliveries did not give as many builds as they are of versions.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import multiprocessing
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import open_database

SECRET = "bench"
RULES = [{"name": "all", "on": "version-created"}]
SENDERS = 10  # as many as MLflow's server has by default


def main() -> None:
    """Measure, print, and fail on a wrong result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=50, help="deliveries a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--distinct", type=int, default=10, help="model versions that the deliveries are of")
    parser.add_argument("--busy", type=int, default=2, help="processes that compute meanwhile")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, door(Path(folder)) as url, load(given.busy):
        statuses, seconds = send(url, given.rate, given.rate * given.seconds, given.distinct)
        database = open_database(f"sqlite:///{folder}/builds.db")
        builds = len(Builds(database).find(limit=100_000))
        database.close()
    seconds.sort()
    result = {
        "deliveries": len(seconds),
        "statuses": dict(statuses),
        "builds": builds,
        "median_ms": round(1000 * statistics.median(seconds), 1),
        "p99_ms": round(1000 * seconds[int(0.99 * len(seconds)) - 1], 1),
        "worst_ms": round(1000 * seconds[-1], 1),
    }
    print(json.dumps(result, indent=2))
    if statuses[202] + statuses[200] != given.rate * given.seconds or builds != given.distinct:
        sys.exit("deliveries were lost, or are not the builds that they should be")


@contextmanager
def door(folder: Path) -> Iterator[str]:
    """Serve the door in a process of its own."""
    given = {
        "XDG_DATA_HOME": str(folder / "data"),
        "DBIMAGE_SERVICE_DATABASE": f"sqlite:///{folder}/builds.db",
        "DBIMAGE_RULES": json.dumps(RULES),
        "DBIMAGE_WEBHOOK_SECRETS": SECRET,
    }
    code = "from plugin_entrypoints.cli import main; main()"
    command = [sys.executable, "-c", code, "webhook", "serve", "--port", "0", "--workers", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **given})
    assert process.stdout is not None
    with process:
        said = "".join(iter(process.stdout.readline, "}\n")) + "}"
        try:
            yield json.loads(said)["url"]
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep processors busy, as nicely as builds do."""
    started = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.join()


def _compute() -> None:
    os.nice(10)
    while True:
        hashlib.sha256(bytes(1 << 20))


def send(url: str, rate: int, count: int, distinct: int) -> tuple[Counter[int], list[float]]:
    """Send deliveries at a steady rate, and return their answers' statuses and times from when each was due."""
    due: queue.SimpleQueue[tuple[int, float] | None] = queue.SimpleQueue()
    statuses: Counter[int] = Counter()
    seconds: list[float] = []
    lock = threading.Lock()

    def sender() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        while (each := due.get()) is not None:
            number, moment = each
            status = _deliver(connection, number, number % distinct)
            with lock:
                statuses[status] += 1
                seconds.append(time.monotonic() - moment)
        connection.close()

    senders = [threading.Thread(target=sender) for _ in range(SENDERS)]
    for each in senders:
        each.start()
    begin = time.monotonic()
    for number in range(count):
        moment = begin + number / rate
        time.sleep(max(0.0, moment - time.monotonic()))
        due.put((number, moment))
    for _ in senders:
        due.put(None)
    for each in senders:
        each.join()
    return statuses, seconds


def _deliver(connection: http.client.HTTPConnection, number: int, version: int) -> int:
    data = {"name": "churn", "version": str(version + 1), "source": "models:/m-1", "run_id": None}
    body = json.dumps({"entity": "model_version", "action": "created", "data": data}).encode()
    stamp = str(int(time.time()))
    mac = hmac.digest(SECRET.encode(), f"bench-{number}.{stamp}.".encode() + body, "sha256")
    headers = {
        "X-MLflow-Delivery-Id": f"bench-{number}",
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": f"v1,{base64.b64encode(mac).decode()}",
    }
    with contextlib.suppress(http.client.HTTPException, OSError):
        connection.request("POST", "/webhooks/mlflow", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    connection.close()
    return 0


if __name__ == "__main__":
    main()
