"""How channels are reached: with credentials that are in no URL, and as of a day where one is asked."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timezone
from urllib.parse import unquote, urlsplit

import rattler
from rattler.networking import (
    AddHeadersMiddleware,
    AuthenticationMiddleware,
    GCSMiddleware,
    MirrorMiddleware,
    OciMiddleware,
    RetryMiddleware,
    S3Middleware,
)

from mlflow_dbimage.locking.lock_inputs import without_credentials


def channel_client(urls: Sequence[str]) -> rattler.Client:
    """Return an HTTP client that adds the credentials of `urls` to requests for the same URLs without them.

    rattler keeps URLs in its caches and puts them into errors, so it is given none with credentials: user and
    password go with each request as a header, and a conda token into the path as if by a mirror. Otherwise
    credentials come from where rattler looks: its own store, `RATTLER_AUTH_FILE`, netrc, keyring.
    """
    headers = [_header(url) for url in urls if urlsplit(url).username]
    tokens = {
        without_credentials(url).rstrip("/"): [url.rstrip("/")] for url in urls if "/t/" in urlsplit(url).path
    }

    def add_headers(host: str, path: str) -> dict[str, str] | None:
        for known_host, folder, value in headers:
            if host == known_host and path.startswith(folder):
                return {"Authorization": value}
        return None

    return rattler.Client(
        [
            AddHeadersMiddleware(add_headers),
            MirrorMiddleware(tokens),
            RetryMiddleware(3),
            AuthenticationMiddleware(),
            OciMiddleware(),
            GCSMiddleware(),
            S3Middleware(),
        ]
    )


def _header(url: str) -> tuple[str | None, str, str]:
    parts = urlsplit(url)
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    return parts.hostname, parts.path.rstrip("/") + "/", f"Basic {base64.b64encode(pair).decode()}"


class ChannelAsOf:
    """A channel without what was built after a day.

    rattler's own cut-off goes by when a mirror indexed a package, where the mirror says so; mirrors of one
    channel would then give different environments.

    Args:
        gateway: Reads the channel.
        channel: The channel.
        newest: Nothing built later is there; what has no time is.
    """

    def __init__(self, gateway: rattler.Gateway, channel: rattler.Channel, newest: datetime) -> None:
        self._gateway = gateway
        self._channel = channel
        self._newest = newest.astimezone(timezone.utc)

    async def fetch_package_records(
        self, platform: rattler.Subdir, name: rattler.PackageName
    ) -> list[rattler.RepoDataRecord]:
        """Return the records of one name."""
        found = await self._gateway.query([self._channel], [platform], [name.normalized], recursive=False)
        return [record for records in found for record in records if self._is_old_enough(record)]

    def package_names(self, platform: rattler.Subdir) -> list[str]:
        """Return no names: the solver asks for those that it needs."""
        return []

    def _is_old_enough(self, record: rattler.RepoDataRecord) -> bool:
        return record.timestamp is None or record.timestamp <= self._newest
