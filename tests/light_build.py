"""A model, a base and an index so small that a build takes seconds, and the `dbimage` command to build with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

from plain_model import write_model
from toy_wheels import make_wheel

CLONE = Path(__file__).resolve().parent.parent
DBIMAGE = (sys.executable, "-c", "from plugin_entrypoints.cli import main; main()")
STOPPING = (sys.executable, str(CLONE / "tests" / "fakes" / "stopping_command.py"))

_MLMODEL = """\
flavors:
  python_function:
    env:
      conda: conda.yaml
    loader_module: greeting.loader
    python_version: {python}
mlflow_version: 3.1.0
utc_time_created: '2099-01-01 00:00:00.000000'
"""
_LOADER = b"""\
class Greeter:
    def predict(self, frame):
        return frame


def _load_pyfunc(path):
    return Greeter()
"""
_LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")


def light_model(directory: Path, *lines: str, conda: Sequence[str] = ()) -> Path:
    """Write a model that needs Python and the wheel `greeting`; `lines` are further lines of its pip section."""
    python = platform.python_version()
    dependencies = "".join(f"- {line}\n" for line in (f"python={python}", "pip", *conda))
    pip = "".join(f"  - {line}\n" for line in (*lines, "greeting==1.0"))
    text = f"channels:\n- conda-forge\ndependencies:\n{dependencies}- pip:\n{pip}name: mlflow-env\n"
    return write_model(directory, _MLMODEL.format(python=python), conda_DOT_yaml=text, python_model_DOT_pkl=None)


def greeting_wheel(directory: Path) -> Path:
    """Write the wheel that the light model needs."""
    return make_wheel(directory, "greeting", files={"greeting/__init__.py": b"", "greeting/loader.py": _LOADER})


def tiny_base(path: Path, *more: str) -> Path:
    """Write a root file system that has a glibc and little else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    release = path.parent / "os-release"
    release.write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Tiny"\n')
    with tarfile.open(path, "w") as archive:
        archive.add(release, "etc/os-release")
        archive.add(_LIBC.resolve(), f"lib/x86_64-linux-gnu/{_LIBC.name}")
        for name in more:
            archive.add(release, name)
    return path


def light_settings(channel: str, base: Path, index: str) -> dict[str, str]:
    """Say by environment variables where the light model's packages are, and its base.

    Args:
        channel: URL of a conda channel with Python.
        base: A root file system.
        index: URL of an index with the wheel `greeting`.
    """
    return {
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={channel}",
        "DBIMAGE_BASE_IMAGE": f"rootfs:{base}",
        "DBIMAGE_INDEX_URL": index,
    }


@dataclass(kw_only=True)
class Bench:
    """A folder with all that a build reads and writes, and the command run in it."""

    folder: Path
    """Working folder, home, and where the defaults of the destination and caches are."""
    model: Path
    settings: Mapping[str, str]
    """Environment variables besides those of this process."""
    cache: Path
    target: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.target = self.folder / "images"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.folder),
            "DBIMAGE_CACHE_DIR": str(self.cache),
            "DBIMAGE_TARGET": f"oci:{self.target}",
            "PYTHONPATH": str(CLONE),
            **self.settings,
        }

    def run(
        self, *arguments: object, program: Sequence[str] = DBIMAGE, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, whatever that is."""
        return subprocess.run(
            [*program, *map(str, arguments)],
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(
        self,
        *arguments: object,
        program: Sequence[str] = DBIMAGE,
        log: IO[str] | None = None,
        **variables: str,
    ) -> subprocess.Popen[str]:
        """Start the command, with pipes for its three streams, or with its outputs in a file."""
        return subprocess.Popen(
            [*program, *map(str, arguments)],
            env={**self.environment, **variables},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            text=True,
        )

    def build(self, name: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Build the light model."""
        return self.run("build", self.model, "--name", name, "--json", *arguments, **variables)

    def receipt(self, name: str, *arguments: object, **variables: str) -> dict[str, object]:
        """Build the light model, and return what the command says of it."""
        done = self.build(name, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


def error_of(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str, str]:
    """Return exit code, code, message and hint of a command with `--json` that failed as it should."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode != 0, done.stdout
    error = json.loads(done.stdout)["error"]
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")], done.stderr
    return done.returncode, error["code"], error["message"], error["hint"] or ""


def listing(*trees: Path, without: Sequence[str] = ()) -> dict[str, str]:
    """Return kind and hash of every file below some folders; a lock file says nothing and is left out."""
    found: dict[str, str] = {}
    for tree in trees:
        for path in sorted(tree.rglob("*")) if tree.exists() else ():
            relative = path.relative_to(tree)
            if relative.parts[0] in without or path.suffix == ".lock" or path.name == ".lock":
                continue
            if path.is_symlink():
                found[str(path)] = str(path.readlink())
            elif path.is_file():
                status = path.stat()
                found[str(path)] = _hash(path, status.st_ino, status.st_size, status.st_ctime_ns)
    return found


@cache
def _hash(path: Path, *state: int) -> str:
    """Hash a file: once as long as its state is the same, and nothing changes a file without a new ctime."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and neither its size nor its times."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def halted_at(process: subprocess.Popen[str]) -> tuple[str | None, str]:
    """Read what the stopping command says until it halts; None where it ended instead."""
    said = ""
    assert process.stderr is not None
    for line in process.stderr:
        said += line
        if line.startswith("halted at: "):
            return line.removeprefix("halted at: ").strip(), said
    return None, said


def half_written(tree: Path) -> list[str]:
    """Return what a build that ended must not leave: files aside, and folders of work."""

    def is_half(path: Path) -> bool:
        aside = path.name.startswith((".", "tmp")) and not path.name.endswith(".lock")
        return (aside and path.is_file()) or path.parent == tree / "work"

    # uv's own files begin with dots, and so may those in packages.
    foreign = (tree / "uv" / "uv", *(tree / "conda" / "pkgs").glob("*"))
    found = [path for path in sorted(tree.rglob("*")) if is_half(path)]
    return [str(path) for path in found if not any(path.is_relative_to(each) for each in foreign)]
