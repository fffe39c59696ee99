"""What uv is told of the packages that a base has: that they can be had as they are.

A tiny wheel with a distribution's metadata stands for it, so that uv takes it whether or not an index has it
(private builds, distributions of the system), and however late it was published.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from mlflow_dbimage.base_distributions import BaseDistribution
from mlflow_dbimage.version_pins import is_version


def versions_of(present: Iterable[BaseDistribution]) -> dict[str, str]:
    """Return, by name, the versions that uv can be told of."""
    return {each.name: each.version for each in present if is_version(each.version)}


def write_present(present: Iterable[BaseDistribution], folder: Path) -> list[str]:
    """Write the wheels that say what is there, and return uv's arguments for them."""
    wheels = folder / "present"
    wheels.mkdir()
    for each in present:
        if is_version(each.version):
            _write_wheel(each, wheels)
    return ["--find-links", str(wheels)]


def write_left_out(names: Sequence[str], folder: Path) -> list[str]:
    """Write the overrides that make requirements on some names void, and return uv's arguments for them."""
    overrides = folder / "left-out.txt"
    overrides.write_text("".join(f"{name} ; python_version < '0'\n" for name in names))
    return ["--overrides", str(overrides)]


def _write_wheel(distribution: BaseDistribution, folder: Path) -> None:
    stem = f"{distribution.name.replace('-', '_')}-{Version(distribution.version)}"
    metadata = ["Metadata-Version: 2.1", f"Name: {distribution.name}", f"Version: {distribution.version}"]
    metadata += [f"Requires-Dist: {line}" for line in distribution.requires if _is_requirement(line)]
    metadata += [f"Provides-Extra: {extra}" for extra in distribution.extras]
    files = {
        "METADATA": "\n".join(metadata) + "\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: mlflow-dbimage\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/{name}"), text)


def _is_requirement(text: str) -> bool:
    """Whether uv can read it: one line that it cannot read would make the whole distribution unusable."""
    try:
        Requirement(text)
    except InvalidRequirement:
        return False
    return True
