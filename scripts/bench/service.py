"""How fast the webhook's door answers signed deliveries while a worker builds what they ask for, and what is lost.

`make bench` sends 50 deliveries a second for a minute to `dbimage webhook serve --workers 1`: of versions of a
real model in a registry of MLflow's, whose images the worker makes meanwhile. The table is an SQLite file, and
the sender is this process, on the same machine. It fails where a delivery is lost, or where the deliveries do not
end in as many images as they are of versions. `python -m scripts.bench.service` measures that alone, and with
`--workers 0` the door without a worker.
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
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sample_models
from mlflow_dbimage.service.build import ACTIVE, Status
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import open_database
from sample_models.conda_channel import make_channel
from scripts.bench.results import WrongResult

ROOT = Path(__file__).resolve().parent.parent.parent
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
    try:
        result = measure(given.rate, given.seconds, given.distinct, given.workers)
    except WrongResult as problem:
        sys.exit(str(problem))
    print(json.dumps(result, indent=2))


def measure(rate: int, duration: int, distinct: int, workers: int) -> dict[str, Any]:
    """Send deliveries, and return what became of them.

    Args:
        rate: Deliveries a second.
        duration: For how many seconds.
        distinct: Model versions that they are of.
        workers: Of which each makes one image at a time; 0 for the door alone.

    Raises:
        WrongResult: One was lost, or they ended in other images than they should.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variables = register(folder, distinct, build=bool(workers))
        with (
            door(folder, workers, variables) as url,
            closing(open_database(_table(folder))) as database,
        ):
            builds = Builds(database)
            statuses, seconds = send(url, rate, rate * duration, distinct)
            made_meanwhile = builds.counts()
            ended = until_ended(builds) if workers else made_meanwhile
    wanted = {"built" if workers else "queued": distinct}
    if statuses[202] + statuses[200] != rate * duration or ended != wanted:
        raise WrongResult("deliveries were lost, or are not the images that they should be")
    seconds.sort()
    return {
        "deliveries": len(seconds),
        "statuses": dict(statuses),
        "median_ms": round(1000 * statistics.median(seconds), 1),
        "p99_ms": round(1000 * seconds[int(0.99 * len(seconds)) - 1], 1),
        "worst_ms": round(1000 * seconds[-1], 1),
        "builds_as_the_last_was_sent": made_meanwhile,
        "builds_at_the_end": ended,
    }


def register(folder: Path, count: int, *, build: bool) -> dict[str, str]:
    """Register versions of a sample, and return the variables by which the service finds them.

    Args:
        folder: For the models and their registry.
        count: Versions.
        build: Whether one is built once, since what is downloaded is no part of the measurement.
    """
    channel = make_channel(KEPT / "channel").url
    variables = {
        "DBIMAGE_BASE_IMAGE": os.environ.get("DBIMAGE_BASE_IMAGE", "apt:bookworm"),
        "DBIMAGE_CACHE_DIR": str(KEPT / "cache"),
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={channel},defaults={channel}",
        "DBIMAGE_TARGET": f"oci:{folder}/images",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    import mlflow  # seconds

    tracking = variables["MLFLOW_TRACKING_URI"]
    client = mlflow.MlflowClient(tracking, tracking)
    client.create_registered_model("churn")
    sample_models.make(SAMPLE, folder / "made")
    for number in range(1, count + 1):
        shutil.copytree(folder / "made", folder / f"model-{number}")
        (folder / f"model-{number}" / "notes.txt").write_text(f"version {number}")
        client.create_model_version("churn", str(folder / f"model-{number}"))
    if build:
        command = [*COMMAND, "build", "models:/churn/1", "--name", "warm-up", "--quiet"]
        subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, check=True)
    for part in ("records/locks", "records/environments"):
        shutil.rmtree(KEPT / "cache" / part, ignore_errors=True)
    return variables


@contextmanager
def door(folder: Path, workers: int, variables: Mapping[str, str]) -> Iterator[str]:
    """Serve the door in a process of its own, and its workers."""
    given = {
        **variables,
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
