"""A client of the webhook's door that speaks plain HTTP, and signed events for it to send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from mlflow_dbimage.service.intake import Service
from mlflow_dbimage.settings_sources import Surroundings, load
from plugin_entrypoints.webhook import create_app

SECRET = "a secret of the registry"
TOKEN = "a token for people and programs"
RULES = [
    {"name": "champions", "on": "alias-set", "model": "*", "alias": "champion"},
    {"name": "every-version", "on": "version-created", "model": "churn*"},
]
RECEIPT = {
    "name": "churn",
    "reference": "registry.example/models/churn@sha256:" + "ab" * 32,
    "digest": "sha256:" + "ab" * 32,
    "sent_size": 12345678,
    "record": {
        "runtime": "15.4-lts",
        "python": "3.11.9",
        "base_reference": "//b/base:1",
        "layers": [1, 2],
        "packages": 61,
    },
}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Client:
    """Speaks plain HTTP, follows nothing, keeps no cookies but those that it is told to."""

    url: str
    service: Service
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        parts = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        names = {name.replace("_", "-"): text for name, text in {**self.headers, **headers}.items()}
        try:
            connection.request(method, path, body=body, headers=names)
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): text for name, text in got.getheaders()}, got.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def form(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        body = urllib.parse.urlencode(fields).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.send("POST", path, body, **headers)

    def deliver(self, event: dict[str, Any] | bytes, **others: Any) -> Answer:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.send("POST", "/webhooks/mlflow", body, **signed(body, **others))

    def with_token(self) -> Client:
        return Client(self.url, self.service, {"Authorization": f"Bearer {TOKEN}"})


def signed(body: bytes, *, secret=SECRET, delivery="d-1", at=None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    mac = hmac.new(secret.encode(), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": "v1," + base64.b64encode(mac.digest()).decode(),
    }


def version(model="churn", number="3") -> dict[str, Any]:
    data = {"name": model, "version": number, "source": "models:/m-1", "run_id": None, "tags": {}}
    return {"entity": "model_version", "action": "created", "timestamp": "2026-11-24T08:29:46+00:00", "data": data}


def alias(model="churn", number="3", name="champion") -> dict[str, Any]:
    return {
        "entity": "model_version_alias",
        "action": "created",
        "data": {"name": model, "alias": name, "version": number},
    }


def surroundings(folder, **variables: str) -> Surroundings:
    given = {"DBIMAGE_RULES": json.dumps(RULES), "DBIMAGE_SERVICE_DATABASE": f"sqlite:///{folder}/builds.db"}
    return Surroundings(environment={**given, **variables}, directory=folder, user_file=folder / "none.toml")


def door(folder, **variables: str) -> Any:
    return create_app(load(surroundings=surroundings(folder, **variables)))


def log_in(client: Client) -> str:
    answer = client.form("/login", {"token": TOKEN})
    assert answer.status == 303
    return answer.headers["set-cookie"]
