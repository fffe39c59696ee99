"""A base as Databricks Container Services wants it, made once and kept: Debian, its own Python, and a virtual
environment at `/databricks/python3` that mixes in the system's packages.

The packages are those of Databricks' image for runtime 15.4 LTS, as far as the tests are about them, in its
versions, and without its extension modules of a hundred megabytes. Debian 12 has the same Python minor as that
image's Ubuntu.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from filelock import FileLock

from mlflow_dbimage.backends.mmdebstrap import PACKAGES, Mmdebstrap
from mlflow_dbimage.oci.descriptor import Platform

SUITE = "bookworm"
PYTHON = "3.11"

# Of Debian: what the environment finds in the system, as it does on Ubuntu.
SYSTEM = ("python3", "python3-distro", "python3-psutil", "python3-six")

# Distributions of the environment, installed without their requirements, as Databricks does it.
_PINS = Path(__file__).with_name("cluster_base.txt")

_PREFIX = "databricks/python3"
_SETTINGS = """\
home = /usr/bin
implementation = CPython
version_info = 3.11.2.final.0
virtualenv = 20.24.2
include-system-site-packages = true
base-prefix = /usr
base-exec-prefix = /usr
base-executable = /usr/bin/python3.11
"""


def cluster_base(kept: Path) -> Path:
    """Return a root file system tarball, made on the first call; of several processes one makes it.

    Args:
        kept: Folder in which it is kept, under a name that says what it was made from.

    Raises:
        DbimageError: mmdebstrap is missing or failed.
        CalledProcessError: uv could not install the packages.
    """
    maker = Mmdebstrap(packages=(*PACKAGES, *SYSTEM))
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    inputs = [SUITE, architecture, maker.identity, _PINS.read_text(), Path(__file__).read_text()]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]
    target = kept / f"cluster-{architecture}-{key}.tar"
    kept.mkdir(parents=True, exist_ok=True)
    with FileLock(kept / "cluster.lock"), tempfile.TemporaryDirectory() as folder:
        if not target.exists():
            aside = Path(folder) / "root.tar"
            maker.write_root_file_system(SUITE, Platform("linux", architecture), aside)
            _make_environment(Path(folder) / "root")
            with tarfile.open(aside, "a") as archive:
                archive.add(Path(folder) / "root" / "databricks", "databricks", filter=_owned_by_root)
            shutil.move(aside, target)
    return target


def _make_environment(root: Path) -> None:
    """Make what virtualenv makes on the system itself: links to its Python, and packages."""
    prefix = root / _PREFIX
    options = ["--python", PYTHON, "--system-site-packages", "--quiet"]
    subprocess.run(["uv", "venv", *options, str(prefix)], check=True)
    command = ["uv", "pip", "install", "--quiet", "--python", str(prefix / "bin" / "python"), "--no-deps"]
    subprocess.run([*command, "--only-binary", ":all:", "--compile-bytecode", "-r", str(_PINS)], check=True)
    (prefix / "pyvenv.cfg").write_text(_SETTINGS)
    for path in sorted((prefix / "bin").iterdir()):
        if path.is_symlink():
            path.unlink()
        elif str(prefix) in (text := path.read_text()):
            path.write_text(text.replace(str(prefix), f"/{_PREFIX}"))
    for name in ("python", "python3", "python3.11"):
        (prefix / "bin" / name).symlink_to("/usr/bin/python3.11")


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
