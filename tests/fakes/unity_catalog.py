"""A Databricks workspace on loopback, as far as MLflow's `databricks-uc` client and Databricks' SDK ask one.

OAuth for machines (`/oidc/v1/token`), models of Unity Catalog (`/api/2.0/mlflow/unity-catalog/...`), and their
folders and files. Forms and paths are those of MLflow's protocol buffers and of the SDK;
what Unity Catalog refuses (dots in tag keys, filters and orders that it does not know) is refused here too.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from services.http_server import running

_MODELS = "/api/2.0/mlflow/unity-catalog"
_NAME_FILTER = re.compile(r"name\s*=\s*'([^']+)'")


@dataclass
class UnityVersion:
    """A version of a model."""

    directory: Path
    tags: dict[str, str] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time() * 1000))


@dataclass
class UnityCatalog:
    """What is served, and what was asked."""

    client: tuple[str, str] = ("a-service-principal", "its-secret")
    by_sdk: bool = False
    """Whether MLflow shall read files by Databricks' SDK, or by itself; either ends at signed URLs."""
    models: dict[str, dict[str, UnityVersion]] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to be here instead of at Databricks."""
        return {
            "DATABRICKS_HOST": self.url,
            "DATABRICKS_CLIENT_ID": self.client[0],
            "DATABRICKS_CLIENT_SECRET": self.client[1],
            "MLFLOW_TRACKING_URI": "databricks",
            "MLFLOW_REGISTRY_URI": "databricks-uc",
        }

    def add(self, name: str, directory: Path, alias: str | None = None) -> str:
        """Register a version, and return its number."""
        versions = self.models.setdefault(name, {})
        number = str(len(versions) + 1)
        versions[number] = UnityVersion(directory)
        if alias is not None:
            self.aliases.setdefault(name, {})[alias] = number
        return number

    def model(self, name: str) -> dict[str, Any]:
        if name not in self.models:
            raise _Refused(404, "RESOURCE_DOES_NOT_EXIST", f"Routine or Model '{name}' does not exist.")
        aliases = [{"alias": key, "version": number} for key, number in self.aliases.get(name, {}).items()]
        return {"name": name, "aliases": aliases}

    def version(self, name: str, number: str) -> dict[str, Any]:
        found = self._found(name, number)
        return {
            **self._listed(name, number),
            "tags": [{"key": key, "value": value} for key, value in found.tags.items()],
        }

    def _found(self, name: str, number: str) -> UnityVersion:
        if number not in self.models.get(name, {}):
            raise _Refused(404, "RESOURCE_DOES_NOT_EXIST", f"Model version '{name}/{number}' does not exist.")
        return self.models[name][number]

    def _listed(self, name: str, number: str) -> dict[str, Any]:
        """Give a version as a search lists it: without its tags."""
        created = str(self._found(name, number).created)
        return {
            "name": name,
            "version": number,
            "creation_timestamp": created,
            "status": "MODEL_VERSION_READY",
            "storage_location": f"s3://nobody-reads-this/{name}/{number}",
        }

    def search(self, asked: dict[str, str]) -> dict[str, Any]:
        named = _NAME_FILTER.fullmatch(asked.get("filter", ""))
        if named is None or "order_by" in asked:
            raise _Refused(400, "INVALID_PARAMETER_VALUE", "Only a filter on the name is supported.")
        return {"model_versions": [self._listed(named[1], number) for number in self.models.get(named[1], {})]}

    def set_tag(self, asked: dict[str, str]) -> dict[str, Any]:
        if "." in asked["key"]:
            raise _Refused(400, "INVALID_PARAMETER_VALUE", f"The tag key '{asked['key']}' has a dot.")
        self._found(asked["name"], asked["version"]).tags[asked["key"]] = asked.get("value", "")
        return {}

    def delete_tag(self, asked: dict[str, str]) -> dict[str, Any]:
        self._found(asked["name"], asked["version"]).tags.pop(asked["key"], None)
        return {}

    def by_alias(self, asked: dict[str, str]) -> dict[str, Any]:
        number = self.aliases.get(asked["name"], {}).get(asked["alias"])
        if number is None:
            raise _Refused(404, "RESOURCE_DOES_NOT_EXIST", f"Alias '{asked['alias']}' does not exist.")
        return {"model_version": self.version(asked["name"], number)}

    def file(self, path: str) -> Path:
        """Return the file or folder at `/Models/catalog/schema/model/version/...`."""
        _, catalog, schema, model, number, *inner = path.strip("/").split("/")
        root = self._found(f"{catalog}.{schema}.{model}", number).directory
        place = root.joinpath(*inner)
        if ".." in inner or not place.exists():
            raise _Refused(404, "NOT_FOUND", f"{path} does not exist.")
        return place

    def listing(self, path: str) -> dict[str, Any]:
        place = self.file(path)
        if not place.is_dir():
            raise _Refused(404, "NOT_FOUND", f"{path} is not a directory.")
        contents = [
            {
                "path": f"{path}/{each.name}",
                "name": each.name,
                "is_directory": each.is_dir(),
                **({} if each.is_dir() else {"file_size": each.stat().st_size}),
            }
            for each in sorted(place.iterdir())
        ]
        return {"contents": contents}


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}


def _operations(catalog: UnityCatalog) -> dict[str, Callable[[dict[str, str]], dict[str, Any]]]:
    sdk = "is_databricks_sdk_models_artifact_repository_enabled"
    return {
        "GET /registered-models/get": lambda asked: {"registered_model": catalog.model(asked["name"])},
        "GET /registered-models/search": lambda _: {
            "registered_models": [{"name": each} for each in catalog.models]  # without aliases, as there
        },
        "GET /registered-models/alias": catalog.by_alias,
        f"GET /registered-models:{sdk.replace('_', '-')}": lambda _: {sdk: catalog.by_sdk},
        "GET /model-versions/get": lambda asked: {
            "model_version": catalog.version(asked["name"], asked["version"])
        },
        "GET /model-versions/search": catalog.search,
        "POST /model-versions/set-tag": catalog.set_tag,
        "DELETE /model-versions/delete-tag": catalog.delete_tag,
        "POST /model-versions/emit-lineage": lambda _: {},
        "POST /model-versions/generate-temporary-credentials": lambda _: {
            "credentials": {"storage_mode": "DEFAULT_STORAGE"}
        },
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    catalog: UnityCatalog

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.catalog.requests.append(f"{self.command} {path}")
        try:
            self._send(200, self._content(path, body))
        except _Refused as refused:
            self._send(refused.status, json.dumps(refused.body).encode())

    def _content(self, path: str, body: bytes) -> bytes:
        if path == "/.well-known/databricks-config":
            return json.dumps({"oidc_endpoint": f"{self.catalog.url}/oidc", "workspace_id": "1"}).encode()
        if path.startswith("/oidc/"):
            return json.dumps(self._oauth(path)).encode()
        if path.startswith("/signed/"):
            return self._file(path.removeprefix(f"/signed/{self.catalog.token}"))
        if self.headers.get("Authorization") != f"Bearer {self.catalog.token}":
            raise _Refused(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type.")
        return json.dumps(self._api(path, self._asked(body))).encode()

    def _oauth(self, path: str) -> dict[str, Any]:
        if path.endswith("/.well-known/oauth-authorization-server"):
            place = f"{self.catalog.url}/oidc/v1"
            return {"authorization_endpoint": f"{place}/authorize", "token_endpoint": f"{place}/token"}
        login = base64.b64encode(":".join(self.catalog.client).encode()).decode()
        if path != "/oidc/v1/token" or self.headers.get("Authorization") != f"Basic {login}":
            raise _Refused(401, "invalid_client", "Client authentication failed")
        return {"access_token": self.catalog.token, "token_type": "Bearer", "expires_in": 3600}

    def _asked(self, body: bytes) -> dict[str, str]:
        return {**dict(parse_qsl(urlsplit(self.path).query)), **(json.loads(body) if body else {})}

    def _api(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        if path.startswith("/api/2.0/fs/directories"):
            return self.catalog.listing(path.removeprefix("/api/2.0/fs/directories"))
        if path == "/api/2.0/fs/create-download-url":
            return {"url": f"{self.catalog.url}/signed/{self.catalog.token}{asked['path']}", "headers": []}
        operation = _operations(self.catalog).get(f"{self.command} {path.removeprefix(_MODELS)}")
        if operation is None:
            raise _Refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{self.command} {path}'")
        return operation(asked)

    def _file(self, path: str) -> bytes:
        place = self.catalog.file(path)
        if place.is_dir():
            raise _Refused(404, "NOT_FOUND", f"{path} is a directory.")
        return place.read_bytes()

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serve(catalog: UnityCatalog) -> Iterator[UnityCatalog]:
    """Serve a workspace as long as the context lasts."""
    handler = type("Handler", (_Handler,), {"catalog": catalog})
    with running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as catalog.port:
        yield catalog
