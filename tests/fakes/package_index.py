"""A package index on loopback: the simple API in JSON, with or without upload times, passwords and failures."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from services.http_server import running


@dataclass
class PackageIndex:
    """What is served, and what was asked."""

    directory: Path
    upload_times: Mapping[str, str] = field(default_factory=dict)
    """By file name; a file without one has none."""
    password: str | None = None
    """Of the user `reader`; None serves everybody."""
    broken: set[str] = field(default_factory=set)
    """File names that are answered with other bytes."""
    failing: dict[str, int] = field(default_factory=dict)
    """By file name, how many times it is answered with 503 before it works."""
    requests: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple"

    @property
    def url_with_password(self) -> str:
        return f"http://reader:{self.password}@127.0.0.1:{self.port}/simple"

    def project(self, name: str) -> bytes | None:
        files = [path for path in sorted(self.directory.iterdir()) if _project(path) == canonicalize_name(name)]
        if not files:
            return None
        entries = [self._entry(path) for path in files]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": entries}).encode()

    def _entry(self, path: Path) -> dict[str, object]:
        content = path.read_bytes()
        entry: dict[str, object] = {
            "filename": path.name,
            "url": f"http://127.0.0.1:{self.port}/files/{path.name}",
            "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
            "size": len(content),
        }
        if path.name in self.upload_times:
            entry["upload-time"] = self.upload_times[path.name]
        return entry

    @cached_property
    def header(self) -> str:
        return "Basic " + base64.b64encode(f"reader:{self.password}".encode()).decode()


def _project(path: Path) -> str:
    parse = parse_wheel_filename if path.suffix == ".whl" else parse_sdist_filename
    return parse(path.name)[0]


@contextmanager
def serve(index: PackageIndex) -> Iterator[PackageIndex]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            index.requests.append(self.path)
            if index.password is not None and self.headers.get("Authorization") != index.header:
                self._answer(401, b"who are you?")
                return
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "simple":
                page = index.project(name)
                self._answer(200 if page else 404, page or b"", "application/vnd.pypi.simple.v1+json")
            elif index.failing.get(name, 0) > 0:
                index.failing[name] -= 1
                self._answer(503, b"later")
            else:
                content = (index.directory / name).read_bytes()
                self._answer(200, b"other bytes" if name in index.broken else content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: int, content: bytes, kind: str = "application/octet-stream") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *values: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as index.port:
        yield index
