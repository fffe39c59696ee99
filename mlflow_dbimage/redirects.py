"""Where a server may send us: registries, indexes and stores alike (SSRF).

Private addresses are normal in a company. What no server has a reason to name is what gives credentials to whoever
asks, a file, or plain http in the place of https. A proxy that looks names up by itself must refuse such addresses
itself.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urljoin, urlsplit

_MALFORMED = "malformed:"
_WEB = frozenset({"http", "https"})
# Where clouds tell machines their credentials, besides link-local addresses: AWS, Google (IPv6), Alibaba, Azure.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def absolute(place: str, asked: str) -> str:
    """Return the URL of a place; of one that no URL can be, a URL to which there is an `objection`.

    Args:
        place: As a server names it: a path or URL.
        asked: What it was asked for.
    """
    try:
        url = urljoin(asked, place)
        _ = urlsplit(url).port
    except ValueError:  # `http://[`, or a port that is none
        return _MALFORMED
    return url


def objection(url: str, asked: str) -> str | None:
    """Say why a place is not visited; None where it may be.

    Args:
        url: Where a server sends us, absolute.
        asked: What it was asked for.
    """
    target, origin = urlsplit(url), urlsplit(asked)
    if target.scheme not in _WEB or not target.hostname:
        return f"the place `{target.scheme}:`, which is no web address"
    if (origin.scheme, target.scheme) == ("https", "http"):
        return f"`{target.hostname}` by plain http"
    if target.hostname != origin.hostname and gives_credentials(target.hostname):
        return f"the address `{target.hostname}`, where clouds give credentials"
    return None


def gives_credentials(host: str) -> bool:
    """Whether a host is where clouds tell machines their credentials, or another link-local one."""
    if host.rstrip(".") in _METADATA_NAMES:
        return True
    return any(each.is_link_local or each in _METADATA for each in addresses_of(host))


def addresses_of(host: str) -> tuple[Address, ...]:
    """Look a host up; one that cannot be found has none, and is not reached anyway."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return ()
    return tuple(_real(ipaddress.ip_address(text.partition("%")[0])) for text in sorted(found))


def _real(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
