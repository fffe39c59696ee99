"""A small container registry on loopback that misbehaves on purpose, and remembers what it was asked.

It keeps blobs and manifests in memory and, without a fault, behaves as distribution 2.8 does: half a PATCH stays
in its upload, a tag cannot be deleted, a deleted manifest takes its tags along.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from mlflow_dbimage.oci.image import Image
from oci_samples import bytes_of
from services.http_server import running

_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    host: str
    """Whom it was for: another host, where it came to us as to a proxy."""
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with requests of one kind."""

    method: str
    path: str
    """A regular expression that is found in the path."""
    asks: str | None = None
    """A parameter that the query has."""
    times: int = 1
    """How often; then the registry behaves."""
    skip: int = 0
    """How many requests of this kind go well before."""
    reply: Reply | None = None
    """Given in place of the true answer; the request has no effect."""
    hear: int | None = None
    """The connection is cut after so many bytes of the request's body; what was heard is kept."""
    say: int | None = None
    """The connection is cut after so many bytes of the answer's body."""
    alter: Callable[[Reply], Reply] | None = None
    """Changes the true answer."""

    def concerns(self, asked: Asked) -> bool:
        """Whether a request is of its kind."""
        named = self.asks is None or self.asks in asked.query
        return self.method == asked.method and named and re.search(self.path, asked.path) is not None


@dataclass(kw_only=True)
class FaultyRegistry:
    """What the registry holds, how it behaves, and what it was asked."""

    faults: list[Fault] = field(default_factory=list)
    login: tuple[str, str] | None = None
    """User and password, asked for by Basic or, with a `realm`, by the token server."""
    realm: str | None = None
    """Address of the token server; `""` is this server's own."""
    refresh_token: str | None = None
    """An identity token that the token server takes in place of the login."""
    token_seconds: int = 300
    mounts: bool = True
    deletes: bool = True
    ranges: bool = True
    page: int = 1000
    asked: list[Asked] = field(default_factory=list)
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By repository and digest."""
    manifests: dict[str, dict[str, tuple[str, bytes]]] = field(default_factory=dict)
    """By repository and digest: media type and bytes."""
    tag_digests: dict[str, dict[str, str]] = field(default_factory=dict)
    """By repository and tag."""
    tokens: dict[str, set[str]] = field(default_factory=dict)
    """Tokens that are good, and the scopes that they were given for."""
    port: int = 0
    tls: ssl.SSLContext | None = None
    uploads: dict[str, bytearray] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.host}"

    def count(self, method: str, path: str = "") -> int:
        return sum(1 for each in self.asked if each.method == method and re.search(path, each.path))

    def put(self, image: Image, repository: str = "team/app", tag: str = "v1") -> None:
        """Put an image there without asking."""
        blobs = [bytes_of(layer) for layer in image.layers]
        self.put_manifest(repository, tag, image.manifest, image.media_type, image.config, *blobs)

    def put_manifest(self, repository: str, tag: str, manifest: bytes, media_type: str, *blobs: bytes) -> str:
        """Put a manifest and its blobs there without asking; return its digest."""
        digest = digest_of(manifest)
        self.manifests.setdefault(repository, {})[digest] = (media_type, manifest)
        self.tag_digests.setdefault(repository, {})[tag] = digest
        self.blobs.setdefault(repository, {}).update({digest_of(blob): blob for blob in blobs})
        return digest

    def fault_of(self, asked: Asked) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.concerns(asked):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def answer(self, asked: Asked) -> Reply:
        """Give the true answer."""
        with self.lock:
            if asked.path == "/token":
                return self._token(asked)
            wanted = self._challenge(asked)
            if wanted is not None:
                return error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": wanted})
            if asked.path == "/v2/_catalog":
                return self._list(asked, "repositories", sorted(self.manifests))
            for pattern, handle in self._routes().items():
                match = re.fullmatch(pattern, asked.path)
                if match is not None:
                    return handle(asked, *match.groups())
            return error(404, "NAME_UNKNOWN", "no such place")

    def _routes(self) -> dict[str, Callable[..., Reply]]:
        return {
            r"/v2/(.+)/tags/list": self._tags,
            r"/v2/(.+)/blobs/uploads/": self._begin,
            r"/v2/(.+)/blobs/uploads/([0-9]+)": self._upload,
            r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})": self._blob,
            r"/v2/(.+)/manifests/([^/]+)": self._manifest,
        }

    def _challenge(self, asked: Asked) -> str | None:
        if self.login is None and self.refresh_token is None:
            return None
        if self.realm is None:
            assert self.login is not None
            return None if asked.authorization == basic(*self.login) else 'Basic realm="faulty"'
        scheme, _, token = (asked.authorization or "").partition(" ")
        scope = scope_of(asked)
        granted = self.tokens.get(token, set()) if scheme == "Bearer" else set()
        if any(covers(each, scope) for each in granted):
            return None
        realm = self.realm or f"{self.url}/token"
        return f'Bearer realm="{realm}",service="faulty",scope="{scope}",error="invalid_token"'

    def _token(self, asked: Asked) -> Reply:
        form = parse_qs(asked.body.decode()) if asked.method == "POST" else asked.query
        if asked.method == "POST":
            known = self.refresh_token is not None and form.get("refresh_token") == [self.refresh_token]
        else:
            known = self.login is None or asked.authorization == basic(*self.login)
        if not known:
            return error(401, "UNAUTHORIZED", f"wrong credentials {asked.authorization} {form}")
        token = f"token-{len(self.tokens)}-canary-of-this-registry"
        self.tokens[token] = {scope for scopes in form.get("scope", ()) for scope in scopes.split()}
        return reply(200, {"token": token, "expires_in": self.token_seconds})

    def _tags(self, asked: Asked, repository: str) -> Reply:
        if repository not in self.manifests:
            return error(404, "NAME_UNKNOWN", "repository name not known")
        return self._list(asked, "tags", sorted(self.tag_digests.get(repository, {})))

    def _list(self, asked: Asked, key: str, names: list[str]) -> Reply:
        start = int(asked.query.get("start", ["0"])[0])
        page = names[start : start + self.page]
        more = start + self.page < len(names)
        link = {"Link": f'<{asked.path}?start={start + self.page}>; rel="next"'} if more else {}
        return replace(reply(200, {key: page or None}), headers=link)

    def _begin(self, asked: Asked, repository: str) -> Reply:
        if "mount" in asked.query and self.mounts and "from" in asked.query:
            digest, source = asked.query["mount"][0], asked.query["from"][0]
            if digest in self.blobs.get(source, {}):
                self.blobs.setdefault(repository, {})[digest] = self.blobs[source][digest]
                return Reply(status=201, headers={"Docker-Content-Digest": digest})
        number = str(len(self.uploads))
        self.uploads[number] = bytearray()
        place = f"/v2/{repository}/blobs/uploads/{number}?_state=canary-state-{number}"
        return Reply(status=202, headers={"Location": place})

    def _upload(self, asked: Asked, repository: str, number: str) -> Reply:
        data = self.uploads[number]
        if asked.method == "PATCH":
            data += asked.body
            place = f"/v2/{repository}/blobs/uploads/{number}?_state=canary-state-{number}"
            return Reply(status=202, headers={"Location": place})
        digest = asked.query["digest"][0]
        if digest_of(bytes(data)) != digest:
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs.setdefault(repository, {})[digest] = bytes(data)
        return Reply(status=201, headers={"Docker-Content-Digest": digest})

    def _blob(self, asked: Asked, repository: str, digest: str) -> Reply:
        data = self.blobs.get(repository, {}).get(digest)
        if data is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        wanted = re.fullmatch(r"bytes=([0-9]+)-", asked.headers.get("range", ""))
        if wanted is not None and self.ranges:
            start = int(wanted[1])
            headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return Reply(status=206, headers=headers, body=data[start:])
        return Reply(status=200, body=data)

    def _manifest(self, asked: Asked, repository: str, reference: str) -> Reply:
        kept, tags = self.manifests.setdefault(repository, {}), self.tag_digests.setdefault(repository, {})
        if asked.method == "PUT":
            digest = digest_of(asked.body)
            kept[digest] = (asked.headers["content-type"], asked.body)
            if not reference.startswith("sha256:"):
                tags[reference] = digest
            return Reply(status=201, headers={"Docker-Content-Digest": digest})
        if asked.method == "DELETE" and (not self.deletes or not reference.startswith("sha256:")):
            return error(405, "UNSUPPORTED", "the operation is unsupported")
        digest = tags.get(reference, reference)
        if digest not in kept:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if asked.method == "DELETE":
            del kept[digest]
            self.tag_digests[repository] = {tag: each for tag, each in tags.items() if each != digest}
            return Reply(status=202)
        media_type, data = kept[digest]
        return Reply(status=200, headers={"Content-Type": media_type, "Docker-Content-Digest": digest}, body=data)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def reply(status: int, document: object) -> Reply:
    return Reply(status=status, body=json.dumps(document).encode())


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status=status, headers=headers or {}, body=body)


def scope_of(asked: Asked) -> str:
    """What a request needs, in the words of token servers."""
    match = re.fullmatch(r"/v2/(.+)/(?:manifests|blobs|tags)/.*", asked.path)
    if match is None:
        return "registry:catalog:*"
    actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(asked.method, "pull,push")
    return f"repository:{match[1]}:{actions}"


def covers(granted: str, wanted: str) -> bool:
    name, _, actions = granted.rpartition(":")
    wanted_name, _, wanted_actions = wanted.rpartition(":")
    return name == wanted_name and set(wanted_actions.split(",")) <= set(actions.split(","))


@contextmanager
def faulty_registry(registry: FaultyRegistry | None = None) -> Iterator[FaultyRegistry]:
    """Run a registry as long as the context lasts."""
    registry = registry or FaultyRegistry()
    with running(_Server(registry)) as registry.port:
        yield registry


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def serve(self) -> None:
        registry, parts = self.server.registry, urlsplit(self.path)
        asked = Asked(
            method=self.command,
            path=parts.path,
            query=parse_qs(parts.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            host=parts.netloc or self.headers.get("Host", ""),
        )
        fault = registry.fault_of(asked) or Fault(method="", path="")
        length = int(self.headers.get("Content-Length", 0))
        body = self._heard(length if fault.hear is None else min(length, fault.hear))
        asked = replace(asked, body=body)
        registry.asked.append(asked)
        if fault.hear is not None:
            registry.answer(asked)
            return self._cut()
        said = fault.reply or registry.answer(asked)
        return self._say(fault.alter(said) if fault.alter is not None else said, fault.say)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self.serve

    def _heard(self, length: int) -> bytes:
        parts = []
        while length > 0:
            part = self.rfile.read(min(length, _BLOCK))
            if not part:
                break
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _say(self, said: Reply, cut_after: int | None) -> None:
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name in said.headers):
            self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said.body[:cut_after])
        if cut_after is not None:
            self._cut()

    def _cut(self) -> None:
        self.wfile.flush()
        # Unread input and this option make the close a reset, as a crash does.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, registry: FaultyRegistry) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.registry = registry

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self.registry.tls is None:
            return connection, address
        # The handshake comes with the first bytes that are read, in the thread of the connection.
        sealed = self.registry.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return sealed, address

    def handle_error(self, *args: object) -> None:
        """Clients may leave whenever they like."""
