"""Keeps credentials that configuration puts into URLs out of texts, locks and command lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from mlflow_dbimage.locking.lock_inputs import without_credentials

_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_CONDA_TOKEN = re.compile(r"(?<=/t/)[^/\s]+(?=/)")


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text of a program or library without the credentials of URLs, nor any of `secrets`."""
    clean = _CONDA_TOKEN.sub("***", _USER_INFO.sub("", text))
    for secret in secrets:
        clean = clean.replace(secret, "***")
    return clean


def secrets_of(urls: Iterable[str]) -> tuple[str, ...]:
    """Return the passwords (or lone tokens) in the user information of URLs, quoted and unquoted."""
    found: set[str] = set()
    for url in urls:
        parts = urlsplit(url)
        secret = parts.password or parts.username
        if secret:
            found |= {secret, unquote(secret)}
    return tuple(sorted(found, key=len, reverse=True))


def restored(url: str, configured: Iterable[str]) -> str:
    """Return `url` with the credentials that a configured URL above it has."""
    for whole in configured:
        bare = without_credentials(whole).rstrip("/")
        if bare != whole.rstrip("/") and url.startswith(f"{bare}/"):
            return whole.rstrip("/") + url[len(bare) :]
    return url
