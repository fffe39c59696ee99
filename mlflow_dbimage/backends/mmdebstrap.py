"""mmdebstrap: makes a Debian or Ubuntu root file system from an apt mirror, without root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.descriptor import Platform

#: What a base needs for Databricks Container Services, apart from Java (docs/measurements.md).
PACKAGES = ("acl", "bash", "ca-certificates", "coreutils", "iproute2", "procps", "sudo")

# What differs between two runs of the same packages: logs, caches, machine identity.
_LEFTOVERS = (
    "/var/log/*",
    "/var/cache/apt/*",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",
    "/var/lib/apt/lists/*",
    "/var/lib/dpkg/*-old",
    "/etc/machine-id",
    "/etc/hostname",
    "/etc/resolv.conf",
)
_EPOCH = "315532801"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmdebstrap:
    """Makes root file systems.

    Attributes:
        mirror: URL of the apt mirror, or None for the one that this machine's apt uses.
        packages: Added to the minimal system.
    """

    mirror: str | None = None
    packages: tuple[str, ...] = PACKAGES

    @property
    def identity(self) -> str:
        """What decides the result, apart from suite and platform."""
        return f"{self.mirror or 'this machine'} {' '.join(sorted(self.packages))}"

    def write_root_file_system(self, suite: str, platform: Platform, target: Path) -> None:
        """Write a tarball of the root file system of `suite` (`bookworm`, `jammy`).

        Raises:
            ServiceError: `program-failed`, mmdebstrap is missing or failed.
        """
        program = shutil.which("mmdebstrap")
        if program is None:
            raise ServiceError(
                "program-failed",
                f"the base `apt:{suite}` needs the program `mmdebstrap`, which is not installed",
                hint="install it (`apt-get install mmdebstrap`), or name another base image",
            )
        aside = target.with_name(f".{target.name}.tar")
        command = [
            program,
            "--quiet",
            "--variant=minbase",
            f"--architectures={platform.architecture}",
            f"--include={','.join(sorted(self.packages))}",
            *_cleaning(),
            suite,
            str(aside),
            *([self.mirror] if self.mirror else _own_sources(suite)),
        ]
        try:
            self._run(command, suite)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

    def _run(self, command: Sequence[str], suite: str) -> None:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, check=False
        )
        if done.returncode != 0:
            tail = "\n".join(line for line in done.stderr.strip().splitlines()[-6:])
            raise ServiceError("program-failed", f"`mmdebstrap` could not make `apt:{suite}`:\n{tail}")


def _cleaning() -> list[str]:
    quoted = " ".join(f'"$1"{path}' for path in _LEFTOVERS)
    return [f"--customize-hook=rm -rf {quoted}"]


def _own_sources(suite: str) -> list[str]:
    """Return this machine's apt sources where they have the suite; else mmdebstrap's default serves."""
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.*"))):
        found = _source_of(path, suite) if path.is_file() else None
        if found is not None:
            return [found]
    return []


def _source_of(path: Path, suite: str) -> str | None:
    text = path.read_text(errors="replace")
    if path.suffix == ".sources":
        for block in text.split("\n\n"):
            fields = dict(
                line.split(":", 1) for line in block.splitlines() if ":" in line and not line.startswith("#")
            )
            if suite in fields.get("Suites", "").split():
                return fields["URIs"].split()[0].strip()
        return None
    for line in text.splitlines():
        words = [word for word in line.split() if not word.startswith("[")]
        if words[:1] == ["deb"] and words[2:3] == [suite]:
            return words[1]
    return None
