"""Downloads files of package indexes: streamed, hashed on the way, written aside and renamed."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from mlflow_dbimage.backends import web_requests
from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.errors import ServiceError, VerificationError, disk_errors
from mlflow_dbimage.locking.lock_inputs import without_credentials

_CHUNK = 1 << 18
_TRIES = 3
_TIMEOUT = urllib3.Timeout(connect=20, read=60)
_RETRIES = urllib3.Retry(total=5, connect=2, backoff_factor=0.5, status_forcelist=(408, 429, 500, 502, 503, 504))


class Downloader:
    """Downloads files of indexes, with the credentials that belong to each host."""

    def __init__(self, credentials: IndexCredentials) -> None:
        self._credentials = credentials
        self._pools: dict[str, urllib3.PoolManager] = {}

    def download(
        self, url: str, sha256: str | None, into: Path, advance: Callable[[int], None]
    ) -> tuple[str, int]:
        """Write the file at `url` to `into`, and return its sha256 and size.

        Args:
            url: http, https or file, without credentials.
            sha256: What it must have, or None where the index does not say.
            into: Written aside and renamed; its folder exists.
            advance: Told the bytes of each chunk.

        Raises:
            ServiceError: `index-failed`, `disk-failed`.
            VerificationError: `digest-mismatch`.
        """
        for _ in range(_TRIES - 1):
            with suppress(HTTPError):
                return self._once(url, sha256, into, advance)
        try:
            return self._once(url, sha256, into, advance)
        except HTTPError as error:
            raise _failed(url, type(error).__name__) from None

    def _once(self, url: str, sha256: str | None, into: Path, advance: Callable[[int], None]) -> tuple[str, int]:
        with disk_errors():
            descriptor, aside = tempfile.mkstemp(dir=into.parent, prefix=".download-")
            try:
                with os.fdopen(descriptor, "wb") as out:
                    found, size = self._copy(url, out, advance)
                if sha256 is not None and found != sha256:
                    place = without_credentials(url)
                    raise VerificationError(
                        "digest-mismatch", f"{place} has sha256 {found}, and should have {sha256}"
                    )
                Path(aside).chmod(0o644)
                Path(aside).replace(into)
            finally:
                with suppress(FileNotFoundError):
                    Path(aside).unlink()
        return found, size

    def _copy(self, url: str, out: BinaryIO, advance: Callable[[int], None]) -> tuple[str, int]:
        if urlsplit(url).scheme == "file":
            return _copy_file(Path(unquote(urlsplit(url).path)), out, advance)
        response = web_requests.request(
            "GET",
            url,
            pool=self._pool,
            headers=self._credentials.headers,
            failed=partial(_failed, url),
            preload_content=False,
        )
        try:
            if response.status != 200:
                raise _failed(url, f"the index answers {response.status}")
            return _copy_chunks(response.stream(_CHUNK, decode_content=False), out, advance)
        finally:
            response.release_conn()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy is None or urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        if proxy not in self._pools:
            kind = partial(urllib3.ProxyManager, proxy) if proxy else urllib3.PoolManager
            self._pools[proxy] = kind(maxsize=8, retries=_RETRIES, timeout=_TIMEOUT)
        return self._pools[proxy]


def _copy_file(path: Path, out: BinaryIO, advance: Callable[[int], None]) -> tuple[str, int]:
    try:
        source = path.open("rb")
    except FileNotFoundError:
        raise ServiceError("index-failed", f"the index names `{path}`, which does not exist") from None
    with source:
        return _copy_chunks(iter(partial(source.read, _CHUNK), b""), out, advance)


def _copy_chunks(chunks: Iterable[bytes], out: BinaryIO, advance: Callable[[int], None]) -> tuple[str, int]:
    state, size = hashlib.sha256(), 0
    for chunk in chunks:
        state.update(chunk)
        out.write(chunk)
        size += len(chunk)
        advance(len(chunk))
    return state.hexdigest(), size


def _failed(url: str, reason: str) -> ServiceError:
    return ServiceError(
        "index-failed",
        f"cannot download {without_credentials(url)}: {reason}",
        hint="name an index that this machine reaches, or its credentials",
    )
