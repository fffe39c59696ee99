"""Commands of the service, as operators run them: webhook check, worker, reconcile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("dbimage")

RULES = """
[[rules]]
name = "created"
on = "version-created"

[[rules]]
name = "champions"
on = "alias-set"
alias = "champion"
target = "//registry.example/models"

[rules.config]
index_url = "https://reader:hunter2@index.example/simple"
"""
EVENT = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2026-11-24T08:29:46.751012+00:00",
    "data": {"name": "churn", "alias": "champion", "version": "1"},
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    (tmp_path / "event.json").write_text(json.dumps(EVENT))


def dbimage(*arguments: str, check: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command and check how it ends."""
    environment = {**os.environ, **variables}
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == check, done.stderr
    return done


def test_check_explains_an_event_without_secrets():
    Path("dbimage.toml").write_text(RULES)
    told = dbimage("webhook", "check", "event.json").stdout
    assert told.startswith(
        "alias champion set on churn version 1: builds `churn-champion` by the rule `champions`\n"
    )
    assert "created    it is for `version-created`\n" in told
    done = dbimage("webhook", "check", "event.json", "--json").stdout
    data = json.loads(done)
    assert (data["rule"], data["name"]) == ("champions", "churn-champion")
    assert data["request"]["config"]["index_url"] == "https://***@index.example/simple"
    assert "hunter2" not in done + told


def test_check_of_an_event_that_builds_nothing():
    assert "builds nothing\n\nthere are no rules\n" in dbimage("webhook", "check", "event.json").stdout
    Path("event.json").write_text(json.dumps({"event": "COMMENT_CREATED", "text": "x"}))
    assert dbimage("webhook", "check", "event.json").stdout == "ignored: `COMMENT_CREATED` asks for no build\n"


def test_check_of_what_is_no_event_and_of_wrong_rules():
    Path("event.json").write_text("{")
    error = json.loads(dbimage("webhook", "check", "event.json", "--json", check=3).stdout)["error"]
    assert error["code"] == "event-invalid"
    Path("dbimage.toml").write_text("[[rules]]\nname = 'r'\non = 'alias'\n[[rules]]\n")
    told = dbimage("webhook", "check", "event.json", check=2).stderr
    assert "rule `r`: `on` cannot be `alias`" in told and "rule 2: it has no `name`" in told


def test_a_worker_starts_waits_and_stops(tmp_path):
    worker = subprocess.Popen([PROGRAM, "worker"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert "waits for builds" in worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate(timeout=60)
    assert (worker.returncode, output) == (0, "stopped\n")
    assert {path.name for path in (tmp_path / "data" / "dbimage").glob("*.db")} == {"builds.db", "queue.db"}


def test_a_worker_whose_database_is_away_says_so():
    url = "postgresql://svc:hunter2@127.0.0.1:1/builds"
    done = dbimage("worker", check=5, DBIMAGE_SERVICE_DATABASE=url)
    assert "error: the service's database failed" in done.stderr and "hunter2" not in done.stderr


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite:builds.db", "builds.db"])
def test_a_database_of_another_kind_is_refused(url):
    done = dbimage("worker", check=2, DBIMAGE_SERVICE_DATABASE=url)
    assert "it takes a URL of sqlite or postgresql" in done.stderr


def test_reconcile_with_an_empty_registry(tracking_uri):
    Path("dbimage.toml").write_text(RULES)
    data = json.loads(dbimage("reconcile", "--once", "--json", MLFLOW_TRACKING_URI=tracking_uri).stdout)
    assert (data["queued"], data["seen"], data["requests"]) == ([], 0, 2)
    told = dbimage("reconcile", "--since", "2026-01-01", MLFLOW_TRACKING_URI=tracking_uri).stdout
    assert told.startswith("0 queued, 0 known to the rules (2 requests, ")


def test_reconcile_with_a_registry_that_is_away():
    Path("dbimage.toml").write_text(RULES)
    done = dbimage("reconcile", "--once", check=5, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert "does not answer" in done.stderr


@pytest.mark.parametrize("command", ["worker", "reconcile", "webhook serve"])
def test_without_the_extra_the_commands_say_what_is_missing(command):
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "huey" else find(name, *more)
sys.argv = ["dbimage", *{command.split()}]
from plugin_entrypoints.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not installed: huey\nhint: install the extra `serve`" in done.stderr
