"""How fast the webhook's door answers signed deliveries while a worker builds what they ask for, and what is lost.

`make bench` sends 50 deliveries a second for a minute to `dbimage webhook serve --workers 1`: of versions of a
real model in a registry of MLflow's, whose images the worker makes meanwhile. The table is an SQLite file, and
the sender is this process, on the same machine. `--workers 0` measures the door alone. It fails where a delivery
is lost, or where the deliveries do not end in as many images as they are of versions.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hmac
import http.client
import json
import os
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import mlflow

import sample_models
from mlflow_dbimage.service.build import ACTIVE, Status
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import open_database
from sample_models.conda_channel import make_channel

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".cache" / "bench"
SAMPLE = "sklearn-churn"
COMMAND = (sys.executable, "-c", "from plugin_entrypoints.cli import main; main()")
SECRET = "bench"
RULES = [{"name": "all", "on": "version-created", "deployment": "{model}-{version}"}]
SENDERS = 10  # as many as MLflow's server has by default


def main() -> None:
    """Measure, print, and fail on a wrong result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=50, help="deliveries a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--distinct", type=int, default=10, help="model versions that the deliveries are of")
    parser.add_argument("--workers", type=int, default=1, help="of which each makes one image at a time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.workers:
            register(folder, given.distinct)
        with door(folder, given.workers) as url, closing(open_database(_table(folder))) as database:
            builds = Builds(database)
            statuses, seconds = send(url, given.rate, given.rate * given.seconds, given.distinct)
            made_meanwhile = builds.counts()
            ended = until_ended(builds) if given.workers else made_meanwhile
    seconds.sort()
    result = {
        "deliveries": len(seconds),
        "statuses": dict(statuses),
        "median_ms": round(1000 * statistics.median(seconds), 1),
        "p99_ms": round(1000 * seconds[int(0.99 * len(seconds)) - 1], 1),
        "worst_ms": round(1000 * seconds[-1], 1),
        "builds_as_the_last_was_sent": made_meanwhile,
        "builds_at_the_end": ended,
    }
    print(json.dumps(result, indent=2))
    wanted = {"built" if given.workers else "queued": given.distinct}
    if statuses[202] + statuses[200] != given.rate * given.seconds or ended != wanted:
        sys.exit("deliveries were lost, or are not the images that they should be")


def register(folder: Path, count: int) -> None:
    """Register versions of a sample, and build it once: what is downloaded is no part of the measurement."""
    os.environ.setdefault("DBIMAGE_BASE_IMAGE", "apt:bookworm")
    channel = make_channel(KEPT / "channel").url
    os.environ.update(
        DBIMAGE_CACHE_DIR=str(KEPT / "cache"),
        DBIMAGE_CHANNEL_MAP=f"conda-forge={channel},defaults={channel}",
        DBIMAGE_TARGET=f"oci:{folder}/images",
        MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db",
    )
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    client.create_registered_model("churn")
    for number in range(1, count + 1):
        sample_models.make(SAMPLE, folder / f"model-{number}")
        (folder / f"model-{number}" / "notes.txt").write_text(f"version {number}")
        client.create_model_version("churn", str(folder / f"model-{number}"))
    subprocess.run([*COMMAND, "build", "models:/churn/1", "--name", "warm-up", "--quiet"], check=True)
    for part in ("records/locks", "records/environments"):
        shutil.rmtree(KEPT / "cache" / part, ignore_errors=True)


@contextmanager
def door(folder: Path, workers: int) -> Iterator[str]:
    """Serve the door in a process of its own, and its workers."""
    given = {
        "XDG_DATA_HOME": str(folder / "data"),
        "DBIMAGE_SERVICE_DATABASE": _table(folder),
        "DBIMAGE_RECONCILE_EVERY": "0",
        "DBIMAGE_RULES": json.dumps(RULES),
        "DBIMAGE_WEBHOOK_SECRETS": SECRET,
    }
    command = [*COMMAND, "webhook", "serve", "--port", "0", "--workers", str(workers), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **given})
    assert process.stdout is not None
    with process:
        said = "".join(iter(process.stdout.readline, "}\n")) + "}"
        try:
            yield json.loads(said)["url"]
        finally:
            process.send_signal(signal.SIGTERM)


def until_ended(builds: Builds) -> dict[Status, int]:
    """Wait until no build waits or runs, and return how many there are in each state."""
    while builds.find(status=ACTIVE, limit=1):
        time.sleep(0.5)
    return builds.counts()


def _table(folder: Path) -> str:
    return f"sqlite:///{folder}/builds.db"


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
