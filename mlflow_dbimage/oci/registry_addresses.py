"""Where a registry answers, and where it may send us."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlflow_dbimage import redirects
from mlflow_dbimage.redirects import Address, addresses_of

_HUB_NAMES = frozenset({"index.docker.io", "docker.io"})
_PORTS = {"http": 80, "https": 443}


class Nearness(enum.IntEnum):
    """How near an address is: what is nearer trusts its neighbours more."""

    PUBLIC = 0
    PRIVATE = 1
    THIS_MACHINE = 2
    """Loopback and link-local, where clouds give credentials to whoever asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a registry answers."""

    root: str
    """Scheme, host and port, without a slash at the end."""

    @classmethod
    def of(cls, host: str, *, plain: bool) -> Home:
        """Return the home of a registry by the name that people call it.

        Args:
            host: With its port.
            plain: Whether it is reached without TLS.
        """
        name = "registry-1.docker.io" if host in _HUB_NAMES else host
        return cls(root=f"{'http' if plain else 'https'}://{name}")

    def url(self, place: str, asked: str | None = None) -> str:
        """Make what the registry calls a place an absolute URL.

        Registries behind a proxy that ends TLS often name themselves by plain http: that is mended here, since
        following it would send credentials or data in the clear.

        Args:
            place: A path or URL.
            asked: The URL whose answer named the place, if it is not the registry's root.
        """
        url = redirects.absolute(place, asked or f"{self.root}/")
        target, home = urlsplit(url), urlsplit(self.root)
        if (target.scheme, home.scheme) == ("http", "https") and target.hostname == home.hostname:
            same_port = target.port == home.port or target.port in (None, 80)
            return target._replace(scheme="https", netloc=home.netloc).geturl() if same_port else url
        return url

    def owns(self, url: str) -> bool:
        """Whether a URL is the registry's own, so that it may be told who asks."""
        return _origin(url) == _origin(self.root)

    def objection(self, url: str) -> str | None:
        """Say why a URL is not visited; None where it may be.

        Beside what no server may do (`redirects`), a registry may not send us into a network that is nearer to us
        than itself.
        """
        target, home = urlsplit(url), urlsplit(self.root)
        reason = redirects.objection(url, self.root)
        if reason is not None or target.hostname == home.hostname:
            return reason
        if max(_nearness(target.hostname or "")) > min(_nearness(home.hostname or "")):
            return f"the private address `{target.hostname}`"
        return None


def is_loopback(host: str) -> bool:
    """Whether a host, with or without its port, is this machine by its name alone."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _nearness(host: str) -> set[Nearness]:
    """Look a host up; one that cannot be found counts as public."""
    return {_nearness_of(address) for address in addresses_of(host)} or {Nearness.PUBLIC}


def _nearness_of(address: Address) -> Nearness:
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return Nearness.THIS_MACHINE
    return Nearness.PUBLIC if address.is_global else Nearness.PRIVATE
