"""What the figures were measured on, and with what."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("mlflow-dbimage", "mlflow", "uv", "py-rattler", "conda-pack", "isal", "scikit-learn")
_PROGRAMS = {"Docker": ("docker", "--version"), "docker-registry": ("docker-registry", "--version")}


def describe() -> dict[str, str]:
    """Describe this machine: processor, cores, memory, and the versions of what is compared."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load at the beginning": f"{os.getloadavg()[0]:.1f}",
        "day": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        **{name: _version(name) for name in _PACKAGES},
        **{name: _said(command) for name, command in _PROGRAMS.items()},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "missing"
    return (done.stdout or done.stderr).strip().split("\n")[0]
