"""What secrets look like in texts: keys and tokens whose form their issuers document.

Only forms that nothing else has are here, so that a finding is one. What is found is named by its kind and never
repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SIGNS: Mapping[str, bytes] = {
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s",
    "an access key of AWS": rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "a token of Databricks": rb"\bdapi[0-9a-f]{32}(?:-\d+)?\b",
    "a token of GitHub": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
    "a token of GitLab": rb"\bglpat-[A-Za-z0-9_-]{20}\b",
    "a token of Slack": rb"\bxox[abeoprs]-[0-9]{8,}-[0-9A-Za-z-]{8,}",
    "a token of PyPI": rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
    "a token of Hugging Face": rb"\bhf_[A-Za-z]{34}\b",
    "a key of Google": rb"\bAIza[0-9A-Za-z_-]{35}\b",
    "a key of an Azure storage account": rb"\bAccountKey=[A-Za-z0-9+/]{86}==",
    "a signed URL of Azure storage": rb"[?&]sig=[A-Za-z0-9%]{40,}(?:&|$|\s)",
    # RFC 7519: both parts are JSON objects, whose `{"` is `eyJ` in base64.
    "a JSON web token": rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*",
    "a URL with a password": rb"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"<>{}$]+:(?!\*+@)[^\s/:@'\"<>{}$]{3,}@[\w.-]+",
}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _SIGNS.items()}


def secrets_in(data: bytes | str) -> tuple[str, ...]:
    """Return the kinds of secrets in some bytes or a text, in words such as `a private key`."""
    if isinstance(data, str):
        data = data.encode(errors="replace")
    return tuple(kind for kind, pattern in _COMPILED.items() if pattern.search(data))
