"""Sigstore's services on loopback, and its own verifier: those of its JavaScript library, fetched once by npm."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from services.ports import free_port

_PACKAGES = ("@sigstore/mock@0.13.0", "@sigstore/verify@4.1.3")
_HERE = Path(__file__).parent
ISSUER = "https://issuer.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigstoreServices:
    """Services that answer."""

    folder: Path
    modules: Path

    @property
    def config(self) -> Path:
        """Which services there are, and whom to trust."""
        return self.folder / "config.json"

    def verify(self, identity: str, *bundles: Path) -> subprocess.CompletedProcess[str]:
        """Check bundles by the other library."""
        command = ["node", _HERE / "sigstore_verify.js", self.folder / "root.json", identity, ISSUER, *bundles]
        return _run(command, self.modules)


@contextmanager
def sigstore_services(folder: Path, kept: Path) -> Iterator[SigstoreServices]:
    """Run the services as long as the context lasts.

    Args:
        folder: For what they write.
        kept: Where npm's packages are kept.
    """
    modules = _modules(kept)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            ["node", str(_HERE / "sigstore_services.js"), str(port)],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_PATH": str(modules)},
        )
    try:
        end = time.monotonic() + 30
        while not (folder / "config.json").is_file():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, "they do not answer"
            time.sleep(0.05)
        yield SigstoreServices(folder=folder, modules=modules)
    finally:
        process.terminate()
        process.wait()


def token(identity: str, *, seconds: int = 600) -> str:
    """Write a token of an identity; the services look at no signature of it."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "sigstore", "sub": identity, "email": identity, "email_verified": True}
    times = {"iat": now, "nbf": now, "exp": now + seconds}
    parts = [{"alg": "RS256", "typ": "JWT"}, claims | times]
    return ".".join([*(_part(json.dumps(each).encode()) for each in parts), _part(b"signature")])


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _modules(kept: Path) -> Path:
    kept.mkdir(parents=True, exist_ok=True)
    folder = kept / "-".join(each.rpartition("@")[2] for each in _PACKAGES)
    with FileLock(kept / "npm.lock"):
        if not (folder / "whole").exists():
            folder.mkdir(exist_ok=True)
            (folder / "package.json").write_text("{}")
            command = [
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
                folder,
                *_PACKAGES,
            ]
            subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=folder)
            (folder / "whole").touch()
    return folder / "node_modules"


def _run(command: list[object], modules: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_PATH": str(modules)}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
