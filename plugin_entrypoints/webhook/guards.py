"""What stands before every request: limits for bodies, and headers that bind browsers."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Most bytes of a body. Events are a few hundred; descriptions and tags of a model make them some thousands.
LARGEST_BODY = 1 << 20

#: Seconds that a body may take to arrive; MLflow itself waits for an answer no longer.
SLOWEST_BODY = 30.0

_ASSETS = "/assets/"

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not `no-referrer`: with that, browsers hide the origin of forms too, and we could not check it.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class BodyLimit:
    """Reads a body before the application does; what is too large or too slow is answered here.

    Args:
        app: The application.
        largest: Most bytes.
        slowest: Most seconds.
    """

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY, slowest: float = SLOWEST_BODY) -> None:
        self._app = app
        self._largest = largest
        self._slowest = slowest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its whole body in one message."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await self._body(scope, receive)
        if isinstance(body, JSONResponse):
            await body(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replayed, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | JSONResponse:
        """Return the body, or the answer of one that is not taken."""
        announced = Headers(scope=scope).get("content-length", "0")
        too_large = JSONResponse({"detail": f"the body has more than {self._largest} bytes"}, 413)
        if announced.isdecimal() and int(announced[:20]) > self._largest:
            return too_large
        try:
            body = await asyncio.wait_for(self._read(receive), self._slowest)
        except asyncio.TimeoutError:
            return JSONResponse({"detail": f"the body took more than {self._slowest:g} seconds"}, 408)
        return too_large if body is None else body

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body, or None where it is too large; what a client that went away sent is what there is."""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._largest:
                return None
            if not message.get("more_body", False):
                return bytes(body)


class SecurityHeaders:
    """Adds headers that keep browsers from running, framing, sniffing or keeping anything.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add to the headers of its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                is_asset = scope["path"].startswith(_ASSETS)  # its address has our version in it
                headers.setdefault("cache-control", "max-age=3600" if is_asset else "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
