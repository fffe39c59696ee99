"""What the markers of tests need from the machine, and whether a test may be left out for the lack of it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sample_models.channel.interpreters import at_hand

#: By marker: the programs that its tests start, and the Debian packages that bring them.
PROGRAMS: Mapping[str, Mapping[str, str]] = {
    "base": {"mmdebstrap": "mmdebstrap"},
    "browser": {"chromium": "chromium", "chromedriver": "chromium-driver"},
    "clock": {"faketime": "faketime"},
    "sigstore": {"node": "nodejs", "npm": "npm"},
    "engine": {"dockerd": "docker.io"},
    "namespaces": {"bwrap": "bubblewrap"},
    "postgresql": {"initdb": "postgresql"},
    "peers": {"skopeo": "skopeo", "umoci": "umoci"},
    "redis": {"redis-server": "redis-server"},
    "sandbox": {"bwrap": "bubblewrap"},
    "registry": {"docker-registry": "docker-registry", "htpasswd": "apache2-utils"},
}
_LEAST_NODE = 20  # Debian 12 has an older one
_NEEDS_ROOT = ("engine", "root")
_NEEDS_LINUX = ("base", "channel", "engine", "namespaces", "root")

# Debian keeps daemons where users do not look.
_POSTGRESQL = Path("/usr/lib/postgresql")
PATH = ":".join(
    [
        os.environ.get("PATH", os.defpath),
        "/usr/sbin",
        "/sbin",
        *map(str, Path("/usr/lib/postgresql").glob("*/bin")),
    ]
)


def why_not(marker: str) -> str | None:
    """Say what this machine lacks for the tests of a marker; None where nothing is missing."""
    if marker in _NEEDS_LINUX and sys.platform != "linux":
        return "needs Linux"
    if marker in _NEEDS_ROOT and os.geteuid() != 0:
        return "needs root"
    missing = [
        f"`{program}` (Debian: {package})"
        for program, package in PROGRAMS.get(marker, {}).items()
        if shutil.which(program, path=PATH) is None
    ]
    if missing:
        return f"needs {' and '.join(missing)}"
    return "needs Node.js 20" if marker == "sigstore" and _node_version() < _LEAST_NODE else None


@functools.cache
def _node_version() -> int:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def python_of(version: str) -> Path:
    """Return a Python of this machine by its minor version; where there is none, the test is left out."""
    found = at_hand().get(version)
    if found is None:
        pytest.skip(f"needs Python {version} (`pyenv install {version}`)")
    return found


def everything_is_required() -> bool:
    """Whether a test that cannot run is a failure: in CI, or where somebody asks for it."""
    return any(os.environ.get(name, "") not in ("", "0", "false") for name in ("CI", "DBIMAGE_REQUIRE_ALL"))
