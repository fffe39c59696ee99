"""The demo's folder, `.cache/demo` of the clone (configuration, registry, images, caches), and its commands.

Where conda-forge or Databricks's images cannot be reached, a channel made here and a Debian base stand in.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import tomli_w
from rich.console import Console

from mlflow_dbimage.runtimes import Catalogue

CLONE = Path(__file__).resolve().parent.parent.parent
FOLDER = CLONE / ".cache" / "demo"

# What a Databricks Runtime of these days stands on; asked for only to learn whether it can be had.
_DATABRICKS_BASE = "docker.io/databricksruntime/standard:15.4-LTS"
_DEBIAN_BASE = "apt:bookworm"

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class CommandFailed(Exception):
    """A command of the story ended as it should not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this machine has, as `dbimage doctor` finds it."""

    engine: str | None
    channel: bool
    databricks_base: bool
    bootstrapper: bool


class Workshop:
    """Runs the commands of the story in its folder."""

    def __init__(self, console: Console) -> None:
        self.console = console
        binaries = str(Path(sys.executable).parent)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DBIMAGE_")},
            "PATH": os.pathsep.join([binaries, os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(CLONE),
            "PYTHONWARNINGS": "ignore",
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "XDG_DATA_HOME": str(FOLDER / "data"),
            # Not the user's own: the demo must not send images to where they usually go.
            "DBIMAGE_CONFIG": "dbimage.toml",
        }

    def clear(self) -> None:
        """Begin anew: no models, no images; the caches stay."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in ("mlruns", "data"):
            shutil.rmtree(FOLDER / name, ignore_errors=True)
        (FOLDER / "mlflow.db").unlink(missing_ok=True)
        (FOLDER / "dbimage.toml").write_text("")

    def write_activation(self) -> str:
        """Write what puts a shell where the demo was, and return the command for it."""
        names = ("PATH", "MLFLOW_TRACKING_URI", "XDG_DATA_HOME", "DBIMAGE_CONFIG")
        lines = [f"export {name}={shlex.quote(self._environment[name])}" for name in names]
        (FOLDER / "activate").write_text("\n".join(lines) + "\n")
        return f"cd {FOLDER} && . ./activate"

    def has_built_before(self) -> bool:
        """Whether an earlier run has left the layers of an environment."""
        return any((FOLDER / "cache" / "blobs").glob("*"))

    def look_around(self) -> Machine:
        """Ask `dbimage doctor` what can be reached."""
        told = self.quietly(
            "dbimage", "doctor", "--json", "-q", "-C", f"base_image={_DATABRICKS_BASE}", expected=(0, 5)
        )
        found = json.loads(told)
        bases = [each["ok"] for each in found if each["topic"] == "base"]
        engine = next(each for each in found if each["topic"] == "engine")
        return Machine(
            engine=engine["message"] if engine["ok"] else None,
            channel=all(each["ok"] for each in found if each["topic"] == "channel"),
            databricks_base=bool(bases[0]),
            bootstrapper=bool(bases[-1]),
        )

    def configure(self, machine: Machine) -> str:
        """Write the site's configuration, with what stands in for what cannot be reached; return its text."""
        runtimes = _runtimes_with_this_python()
        settings: dict[str, Any] = {"cache_dir": "cache"}
        if not (machine.databricks_base and runtimes):
            if not machine.bootstrapper:
                raise CommandFailed(
                    "no base image can be had: Databricks's is out of reach, and `mmdebstrap` is missing"
                )
            bases = dict.fromkeys(runtimes, _DEBIAN_BASE)
            settings |= {"bases": bases} if bases else {"base_image": _DEBIAN_BASE}
        if not machine.channel:
            settings["channel_map"] = {"conda-forge": self._local_channel()}
        text = tomli_w.dumps(settings)
        (FOLDER / "dbimage.toml").write_text(text)
        return text

    def _local_channel(self) -> str:
        with self.console.status("making a conda channel of what this machine has"):
            told = self.quietly(
                sys.executable, "-m", "sample_models.conda_channel", "channel", "--python", _PYTHON
            )
        return told.splitlines()[-1]

    def register(self, sample: str, name: str) -> str:
        """Train a sample, register it as a new version of a model, and return its URI."""
        words = [
            "-m",
            "sample_models",
            "register",
            sample,
            "--tracking-uri",
            "sqlite:///mlflow.db",
            "--as",
            name,
        ]
        return self.quietly(sys.executable, *words).splitlines()[-1]

    def show(self, *words: str, expected: int = 0) -> float:
        """Print a command, run it in sight, and return how many seconds it took.

        Raises:
            CommandFailed: It ended with another exit code than expected.
        """
        self.console.print(f"[bold cyan]$ {' '.join(words)}[/]", highlight=False, soft_wrap=True)
        self.console.file.flush()
        started = time.monotonic()
        done = subprocess.run(words, cwd=FOLDER, env=self._environment, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != expected:
            raise CommandFailed(f"`{' '.join(words)}` ended with exit code {done.returncode}")
        return time.monotonic() - started

    def quietly(self, *words: str, expected: Sequence[int] = (0,)) -> str:
        """Run a command out of sight, and return its standard output.

        Raises:
            CommandFailed: It ended with an exit code that is not expected; with what it said.
        """
        done = subprocess.run(
            words,
            cwd=FOLDER,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in expected:
            raise CommandFailed(
                f"`{' '.join(words)}` ended with exit code {done.returncode}:\n{done.stderr.strip()}"
            )
        return done.stdout

    def record(self, name: str) -> Mapping[str, Any]:
        """Read a deployment back from its image."""
        return dict(json.loads(self.quietly("dbimage", "inspect", name, "--json")))


def _runtimes_with_this_python() -> list[str]:
    """Find the supported runtimes that take containers and have the Python with which the demo trains."""
    today = datetime.now(timezone.utc).date()
    return [
        each.key
        for each in Catalogue.load().runtimes()
        if each.python_minor == _PYTHON and each.dcs_image is not None and each.supported_on(today)
    ]
