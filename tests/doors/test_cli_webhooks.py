"""The commands of the door: serve, and with a real tracking server register, list and test."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service_bench import children, until
from services.mlflow_server import MAY_CALL_LOOPBACK, mlflow_server
from services.ports import free_port
from webhook_client import SECRET, TOKEN, Client, signed, version

PROGRAM = Path(sys.executable).with_name("dbimage")
RULE = {"name": "champions", "on": "alias-set", "alias": "champion"}

# A signal that comes between the first worker and the server, at no other time.
STOPPED_EARLY = """
import os, signal, socket, uvicorn
from mlflow_dbimage.backends import worker_process
from plugin_entrypoints.cli import serving

class Worker:
    def __init__(self, when_ended): os.kill(os.getpid(), signal.SIGTERM)
    def stop(self): pass
    def wait(self): pass

async def app(scope, receive, send): pass

worker_process.WorkerProcess = Worker
server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
serving._serve(server, socket.create_server(("127.0.0.1", 0)), 1)
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


def webhook(*arguments: object, check: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, "webhook", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == check, done.stderr
    assert "Traceback" not in done.stderr
    return done


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return json.loads(done.stdout)["error"]


@contextmanager
def serving(*arguments: object, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve on a free port, and give the URL and the process, which is told to stop at the end."""
    command = [PROGRAM, "webhook", "serve", "--port", "0", "--json", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    with process:
        said = ""
        for line in process.stdout:
            said += line
            if line == "}\n":
                break
        try:
            yield json.loads(said)["url"], process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def bad_request(client: Client, number: int, delivered: dict[str, str]) -> int | None:
    """Send one of many kinds of what is refused, and return its status; None where the server hung up.

    Args:
        client: Who sends it.
        number: Of the request.
        delivered: Headers of a delivery that was taken: it is played back, as it was and with other bodies.
    """
    good, other = (json.dumps(version(number=each)).encode() for each in ("3", str(number)))
    kinds = [
        lambda: client.send("POST", "/webhooks/mlflow", good, **delivered),
        lambda: client.send("POST", "/webhooks/mlflow", other, **delivered),
        lambda: client.deliver(good, delivery="d/" * (number % 100)),
        lambda: client.deliver({**version(), "entity": [number], "data": number}, delivery=f"d-{number}"),
        lambda: client.deliver(good, secret="guess", delivery=f"d-{number}"),
        lambda: client.deliver(good, at=time.time() - 1000, delivery=f"d-{number}"),
        lambda: client.deliver(random.randbytes(number % 400), delivery=f"d-{number}"),
        lambda: client.send("POST", "/webhooks/mlflow", good),
        lambda: client.send("POST", "/webhooks/databricks", b"[" * number, X_Databricks_Signature="0" * 64),
        lambda: client.send("POST", "/webhooks/mlflow", bytes((1 << 20) + 1)),
        lambda: client.get(f"/api/builds/{number}", Authorization=f"Bearer {number}"),
    ]
    try:
        return kinds[number % len(kinds)]().status
    except (BrokenPipeError, ConnectionResetError):
        return None


def memory(process: int) -> int:
    """Return the memory of a process in kB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return answer.read()


class TestServe:
    """The door as a process."""

    def test_it_serves_with_a_worker_and_ends_in_order(self):
        with serving(DBIMAGE_WEBHOOK_SECRETS="s3cr3t") as (url, process):
            assert json.loads(get(f"{url}/readyz")) == {"database": "ok", "queue": "ok"}
            assert b"no builds yet" in get(url)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "waits for builds" in said
        assert "Traceback" not in said

    def test_it_ends_though_it_is_told_while_its_workers_start(self):
        done = subprocess.run([sys.executable, "-c", STOPPED_EARLY], timeout=60, check=False)
        assert done.returncode == 0

    def test_a_worker_that_is_killed_ends_the_door_and_a_killed_door_its_worker(self):
        with serving() as (_, process):
            (worker,) = until(lambda: children(process.pid))
            os.kill(worker, signal.SIGKILL)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 5
        assert "a worker ended by itself, with status -9" in said
        with serving() as (_, process):
            (worker,) = until(lambda: children(process.pid))
            ending = os.pidfd_open(worker)
            process.kill()
            assert select.select([ending], [], [], 60)[0] == [ending]
            os.close(ending)

    def test_the_token_comes_from_a_file_and_stays_there(self, tmp_path):
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        with serving("--token-file", "token", "--workers", "0", "--host", "0.0.0.0") as (url, process):
            local = url.replace("0.0.0.0", "127.0.0.1")
            assert get(f"{local}/api/builds", Authorization=f"Bearer {TOKEN}") == b'{"builds":[],"before":null}'
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(f"{local}/api/builds")
            refused.value.close()
            assert refused.value.code == 401
            assert TOKEN not in Path(f"/proc/{process.pid}/cmdline").read_text()

    @pytest.mark.slow
    def test_ten_thousand_bad_requests_leave_nothing_behind(self):
        """Unsigned, wrongly signed, late, played back, broken, oversized: no 5xx, no build, no memory."""
        rule = json.dumps([{"name": "every-version", "on": "version-created"}])
        given = {"DBIMAGE_SERVICE_TOKEN": TOKEN, "DBIMAGE_WEBHOOK_SECRETS": SECRET, "DBIMAGE_RULES": rule}
        with serving("--workers", "0", **given) as (url, process):
            client, statuses = Client(url, None), Counter()
            good = json.dumps(version()).encode()
            taken = signed(good, delivery="taken")
            assert client.send("POST", "/webhooks/mlflow", good, **taken).status == 202
            for number in range(10_000):
                if number == 1000:
                    before = memory(process.pid)
                statuses[bad_request(client, number, taken)] += 1
            assert memory(process.pid) - before < 10_000
            # What is played back is known; an event that makes no sense asks for no build.
            assert set(statuses) <= {200, 400, 401, 413, None}, statuses
            assert statuses[200] == 910
            builds = client.with_token().get("/api/builds").json["builds"]
            assert [(each["id"], each["status"]) for each in builds] == [(1, "queued")]

    def test_everybody_is_not_let_in(self):
        error = error_of(webhook("serve", "--host", "0.0.0.0", "--json", check=2))
        assert error["code"] == "bad-value"
        assert "open to everybody" in error["message"]
        half = {"DBIMAGE_SERVICE_PROXIES": "10.0.0.1"}
        assert "need each other" in webhook("serve", "--host", "0.0.0.0", check=2, **half).stderr

    def test_a_short_token_is_refused_and_not_shown(self):
        done = webhook("serve", check=2, DBIMAGE_SERVICE_TOKEN="hunter2")
        assert "at least 16 characters" in done.stderr
        assert "hunter2" not in done.stderr

    def test_a_port_that_is_taken_is_told(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            error = error_of(webhook("serve", "--port", port, "--json", check=5))
        assert error["code"] == "listen-failed"
        assert f"127.0.0.1:{port}" in error["message"]

    def test_wrong_rules_are_told_before_it_listens(self):
        done = webhook("serve", "--port", "0", "--json", check=2, DBIMAGE_RULES='[{"name": "x", "on": "never"}]')
        assert "`on` cannot be `never`" in done.stderr
        assert "url" not in done.stdout

    def test_secrets_are_masked_in_the_configuration(self):
        given = {"DBIMAGE_SERVICE_TOKEN": TOKEN, "DBIMAGE_WEBHOOK_SECRETS": "one,two"}
        done = subprocess.run(
            [PROGRAM, "config", "--json"], capture_output=True, text=True, env={**os.environ, **given}, check=True
        )
        told = {each["key"]: each["value"] for each in json.loads(done.stdout)}
        assert (told["service_token"], told["webhook_secrets"]) == ("***", ["***", "***"])


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """Run a tracking server that may call loopback."""
    at_once = {"MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "0"}
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), **MAY_CALL_LOOPBACK, **at_once) as running:
        yield running


@pytest.mark.slow
class TestRegistry:
    """Webhooks of a real tracking server."""

    @pytest.fixture(autouse=True)
    def _set(self, tracking, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)

    def test_registered_listed_and_tried(self, tmp_path):
        secret = tmp_path / "secret"
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        made = json.loads(webhook("register", url, "--secret-file", secret, "--json").stdout)
        assert (made["new"], made["secret"], made["url"]) == (True, None, f"{url}/webhooks/mlflow")
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert len(secret.read_text().strip()) >= 32

        again = json.loads(webhook("register", url, "--secret-file", secret, "--json").stdout)
        assert (again["id"], again["new"]) == (made["id"], False)
        listed = json.loads(webhook("list", "--json").stdout)
        assert [each["id"] for each in listed if each["url"] == made["url"]] == [made["id"]]

        trial = json.loads(webhook("test", made["id"], "--json", check=5).stdout)
        assert not trial["delivered"]
        given = {"DBIMAGE_WEBHOOK_SECRETS": f"file:{secret}"}
        with serving("--workers", "0", "--port", port, **given):
            event = "model_version_tag.set"
            assert webhook("test", made["id"], "--event", event).stdout.startswith(f"delivered `{event}`")
            trial = json.loads(webhook("test", made["id"], "--json").stdout)
        assert (trial["status"], json.loads(trial["answer"])["outcome"]) == (200, "ignored")

    def test_without_a_file_the_secret_is_told_once(self):
        told = webhook("register", "http://127.0.0.1:9/hooks/mine", "--name", "mine")
        assert "set DBIMAGE_WEBHOOK_SECRETS" in told.stdout
        secret = next(line.split()[1] for line in told.stdout.splitlines() if line.startswith("secret"))
        assert secret not in webhook("list").stdout
        known = webhook("register", "http://127.0.0.1:9/hooks/mine", DBIMAGE_WEBHOOK_SECRETS="already-known")
        assert "already-known" not in known.stdout

    def test_the_events_are_those_of_the_rules(self):
        rules = json.dumps([RULE])
        made = webhook(
            "register", "http://127.0.0.1:9", "--json", DBIMAGE_RULES=rules, DBIMAGE_WEBHOOK_SECRETS="s"
        )
        assert json.loads(made.stdout)["events"] == ["model_version_alias.created"]

    def test_what_the_server_may_not_call(self):
        error = error_of(webhook("register", "ftp://127.0.0.1/x", "--json", check=2))
        assert error["code"] == "bad-value"
        assert "MLFLOW_WEBHOOK_ALLOWED_SCHEMES" in error["hint"]

    def test_an_id_that_does_not_exist(self):
        assert error_of(webhook("test", "nobody", "--json", check=3))["code"] == "webhook-not-found"

    def test_a_store_without_a_server_has_webhooks_too_that_nobody_delivers(self, tracking_uri):
        assert json.loads(webhook("list", "--json").stdout) == []

    def test_a_server_that_is_not_there(self):
        error = error_of(webhook("list", "--json", check=5, MLFLOW_TRACKING_URI="http://127.0.0.1:9"))
        assert error["code"] == "store-failed"
