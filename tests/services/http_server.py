"""Servers of the standard library's kind on loopback, in a thread of the tests; and folders that one serves."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@contextmanager
def running(server: HTTPServer) -> Iterator[int]:
    """Run a server as long as the context lasts, and give its port."""
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFolder:
    """A folder that is served."""

    port: int
    login: str | None
    """`user:password`; None where everybody may read."""
    served: list[str] = field(default_factory=list)
    """The paths that were asked for by who may read."""

    @property
    def url(self) -> str:
        """Its URL, without the password."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url_with_password(self) -> str:
        """Its URL as who may read has it."""
        return f"http://{self.login}@127.0.0.1:{self.port}"


@contextmanager
def served_folder(folder: Path, login: str | None = None) -> Iterator[ServedFolder]:
    """Serve a folder as long as the context lasts.

    Args:
        folder: What is served.
        login: `user:password` of who may read; None for everybody.
    """
    header = None if login is None else "Basic " + base64.b64encode(login.encode()).decode()

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self):  # what GET and HEAD have in common
            if header in (None, self.headers.get("Authorization")):
                known.served.append(self.path)
                return super().send_head()
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="folder"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None

        def log_message(self, *values: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    with running(server) as port:
        known = ServedFolder(port=port, login=login)
        yield known
