"""Tiny wheels and source distributions made on the spot; wheels are listed and installed without a store."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mlflow_dbimage.backends.wheel_files import unpack
from mlflow_dbimage.backends.wheel_prefix import PlacedWheel
from mlflow_dbimage.locking.package_owners import WheelContents


def wheel_name(name: str, version: str, tag: str = "py3-none-any") -> str:
    return f"{name.replace('-', '_')}-{version}-{tag}.whl"


def make_wheel(
    directory: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    requires: Sequence[str] = (),
    scripts: Mapping[str, str] | None = None,
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel; `files` are its members, by default one module of its name."""
    module = name.replace("-", "_")
    members = dict({f"{module}/__init__.py": f"version = '{version}'\n".encode()} if files is None else files)
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode()
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    if scripts:
        lines = "".join(f"{script} = {target}\n" for script, target in scripts.items())
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    members[f"{info}/RECORD"] = _record(members, f"{info}/RECORD")
    path = directory / wheel_name(name, version, tag)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return path


def read_contents(wheel: Path, python_minor: str) -> WheelContents:
    """Return where each file of a wheel is installed."""
    with tempfile.TemporaryDirectory() as folder:
        return unpack(wheel, "", Path(folder)).contents(python_minor)


def install_wheel(
    wheel: Path, prefix: Path, python_minor: str, interpreter: str, omitted: Iterable[str] = ()
) -> None:
    """Install a wheel into a prefix."""
    with tempfile.TemporaryDirectory() as folder:
        into = PlacedWheel(prefix, python_minor, interpreter, omitted)
        into.put(unpack(wheel, "", Path(folder)), Path(folder))


def make_sdist(directory: Path, name: str, version: str = "1.0", setup: str = "") -> Path:
    """Write a source distribution without static metadata, so that it must be built to be resolved."""
    root = f"{name}-{version}"
    setup = (
        setup
        or f"from setuptools import setup\nsetup(name={name!r}, version={version!r}, py_modules=[{name!r}])\n"
    )
    members = {
        f"{root}/setup.py": setup.encode(),
        f"{root}/{name}.py": b"x = 1\n",
        f"{root}/PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n".encode(),
    }
    path = directory / f"{root}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def _record(members: Mapping[str, bytes], own: str) -> bytes:
    rows = []
    for path, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.append(f"{path},sha256={digest},{len(content)}\n")
    return ("".join(rows) + f"{own},,\n").encode()
