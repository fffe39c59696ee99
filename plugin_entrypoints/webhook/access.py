"""Who may see and change builds: by token, by session, by a trusted proxy's word, or anybody on loopback.

A session is a signed moment in a cookie, so that servers need not share anything but the token, and end when
the token changes. Browsers send cookies and addresses along with what other sites make them send; so a change
must come from our own page: its origin is checked, and every form carries a mark that only our pages show.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from mlflow_dbimage.setting_kinds import Network

COOKIE = "dbimage_session"

#: How long a login lasts, in seconds.
SESSION_SECONDS = 12 * 3600

_SESSION = re.compile(r"(?P<until>[0-9]{1,12})\.[0-9a-f]{32}\.(?P<signature>[0-9a-f]{64})")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who may see and change builds."""

    name: str
    """For logs and the page; empty where nobody was asked."""
    by: str
    """`token`, `session`, `proxy` or `loopback`."""
    mark: str
    """That the forms of its pages carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who is let in."""

    token: str | None = None
    proxy_header: str | None = None
    """Header in which a trusted proxy names the user."""
    proxies: Sequence[Network] = ()
    """Addresses from which that header is believed."""
    anybody: bool = False
    """Whether everybody is let in who can reach us; only for loopback."""
    clock: Callable[[], float] = time.time
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """Signs marks where there is no token."""

    def caller(self, connection: HTTPConnection) -> Caller | None:
        """Say who asks, or None for nobody whom we know."""
        if self.anybody:
            return self._known("", "loopback") if _is_local(connection) else None
        return self._by_token(connection) or self._by_session(connection) or self._by_proxy(connection)

    def is_token(self, given: str) -> bool:
        """Whether somebody gave the token, in a time that does not tell how nearly."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def session(self) -> str:
        """Make the value of a session's cookie."""
        text = f"{int(self.clock()) + SESSION_SECONDS}.{secrets.token_hex(16)}"
        return f"{text}.{self._signature('session', text)}"

    def may_change(self, connection: HTTPConnection, caller: Caller) -> bool:
        """Whether a change does not come from somebody else's page; who gives the token has no browser."""
        if caller.by == "token":
            return True
        return is_from_here(connection)

    def is_mark(self, caller: Caller, given: str) -> bool:
        """Whether a form is one of ours, made for this caller."""
        return hmac.compare_digest(given.encode(), caller.mark.encode())

    def _by_token(self, connection: HTTPConnection) -> Caller | None:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_token(given.strip()):
            return None
        return self._known("", "token")

    def _by_session(self, connection: HTTPConnection) -> Caller | None:
        value = connection.cookies.get(COOKIE, "")
        match = _SESSION.fullmatch(value)
        if match is None or self.token is None:
            return None
        right = self._signature("session", value.rpartition(".")[0])
        if not hmac.compare_digest(match["signature"], right) or int(match["until"]) < self.clock():
            return None
        return self._known("", "session", value)

    def _by_proxy(self, connection: HTTPConnection) -> Caller | None:
        if self.proxy_header is None or connection.client is None:
            return None
        user = connection.headers.get(self.proxy_header, "").strip()
        if not user or not _is_within(connection.client.host, self.proxies):
            return None
        return self._known(user[:100], "proxy", user)

    def _known(self, name: str, by: str, identity: str = "") -> Caller:
        return Caller(name=name, by=by, mark=self._signature("form", f"{by}.{identity}"))

    def _signature(self, purpose: str, text: str) -> str:
        key = self.token.encode() if self.token is not None else self.key
        return hmac.digest(key, f"dbimage {purpose} {text}".encode(), "sha256").hex()


def is_from_here(connection: HTTPConnection) -> bool:
    """Whether a request was made by a page of ours, or by no browser at all."""
    if connection.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = connection.headers.get("origin")
    return origin is None or origin.partition("://")[2] == connection.headers.get("host", "")


def _is_local(connection: HTTPConnection) -> bool:
    """Whether the caller is on this machine and meant it.

    A name of somebody else's that leads to loopback is how browsers are tricked; what a proxy hands on comes
    from anywhere.
    """
    if any(name in connection.headers for name in _FORWARDED) or connection.client is None:
        return False
    if not _is_within(connection.client.host, _LOOPBACK):
        return False
    try:
        named = urlsplit(f"//{connection.headers.get('host', '')}").hostname
    except ValueError:
        return False
    return named in _LOOPBACK_NAMES


def _is_within(host: str, networks: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)
