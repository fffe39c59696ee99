"""Credentials for package indexes: from configured URLs, then netrc, then keyring where it is installed."""

from __future__ import annotations

import base64
import importlib
import netrc
import os
from collections.abc import Iterable
from urllib.parse import SplitResult, unquote, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class IndexCredentials:
    """Finds the `Authorization` header for a URL.

    Credentials of a configured URL go only to the same scheme, host and port; those of netrc and keyring only
    over https or to this machine.

    Args:
        configured: URLs of indexes, which may hold user and password.
    """

    def __init__(self, configured: Iterable[str]) -> None:
        self._configured = [urlsplit(url) for url in configured]
        self._asked: dict[str, tuple[str, str] | None] = {}

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers to send with a request for `url`; none where nothing is known."""
        found = self._find(urlsplit(url))
        if found is None:
            return {}
        pair = base64.b64encode(":".join(found).encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    def _find(self, parts: SplitResult) -> tuple[str, str] | None:
        same = [each for each in self._configured if _origin(each) == _origin(parts)]
        for each in same:
            if each.username:
                return unquote(each.username), unquote(each.password or "")
        host = parts.hostname or ""
        if parts.scheme != "https" and host not in _LOOPBACK:
            return None
        if host not in self._asked:
            self._asked[host] = _from_netrc(host) or (_from_keyring(parts, host) if same else None)
        return self._asked[host]


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _from_netrc(host: str) -> tuple[str, str] | None:
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return None if found is None else (found[0], found[2] or "")


def _from_keyring(parts: SplitResult, host: str) -> tuple[str, str] | None:
    """Ask keyring for the URL, then for the host, as pip does; a keyring that fails counts as empty."""
    try:
        keyring = importlib.import_module("keyring")
        for service in (f"{parts.scheme}://{parts.netloc}", host):
            found = keyring.get_credential(service, None)
            if found is not None:
                return found.username, found.password
    except Exception:
        return None
    return None
