"""Keys for tests, made by openssl: private and public, in PEM."""

from __future__ import annotations

import subprocess
from pathlib import Path

KINDS = {
    "ecdsa": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "ed25519": ("-algorithm", "ED25519"),
}


def key_pair(folder: Path, kind: str = "ecdsa", password: str | None = None) -> tuple[Path, Path]:
    """Make a key; return the paths of its private and its public part."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / f"{kind}.key", folder / f"{kind}.pub"
    secret = ("-aes256", "-pass", f"pass:{password}") if password else ()
    openssl("genpkey", *KINDS[kind], *secret, "-out", private)
    opened = ("-passin", f"pass:{password}") if password else ()
    openssl("pkey", "-in", private, *opened, "-pubout", "-out", public)
    return private, public


def openssl(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run openssl; fails if it does."""
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True)
