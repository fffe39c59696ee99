"""Connections to registries: TLS, and the proxy that the environment names."""

from __future__ import annotations

import ssl
import threading
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.util.ssl_ import create_urllib3_context

from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.oci.registry_addresses import is_loopback

_MOST_IDLE = 16


class Connections:
    """Connections that are kept open, directly or by proxy.

    Args:
        ca_cert: Certificates (PEM) to trust besides the system's.

    Raises:
        UsageError: `bad-value`, the file holds no certificates.
    """

    def __init__(self, ca_cert: Path | None) -> None:
        self._tls = _tls(ca_cert)
        self._proxies = urllib.request.getproxies()
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def to(self, url: str) -> urllib3.PoolManager:
        """Return what connects to a URL."""
        proxy = self._proxy(url)
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = self._manager(proxy)
            return self._managers[proxy]

    def _proxy(self, url: str) -> str | None:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        # As Go's programs (docker, podman, skopeo) do: a proxy elsewhere has another loopback.
        if is_loopback(place) or urllib.request.proxy_bypass(place):
            return None
        return self._proxies.get(parts.scheme) or None

    def _manager(self, proxy: str | None) -> urllib3.PoolManager:
        if proxy is None:
            return urllib3.PoolManager(maxsize=_MOST_IDLE, ssl_context=self._tls)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        return urllib3.ProxyManager(
            parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login),
            proxy_ssl_context=self._tls,
            maxsize=_MOST_IDLE,
            ssl_context=self._tls,
        )


def _tls(ca_cert: Path | None) -> ssl.SSLContext:
    # urllib3's own, not `ssl`'s: with that, urllib3 1.26 cannot speak to a host that is named by its address.
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_default_certs()
    if ca_cert is not None:
        try:
            context.load_verify_locations(cafile=ca_cert)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(
                "bad-value", f"the file `{ca_cert}` holds no certificates that can be read: {error.strerror}"
            ) from error
    return context
