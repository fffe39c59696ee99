"""The launcher's distribution as entries of a layer: equal on every machine, whatever installs it.

Sources of the formats: "Recording installed projects" and "Entry points specification" of the PyPA specifications,
and "Binary distribution format" for `RECORD` and `WHEEL`.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from mlflow_dbimage.oci.tar import TarEntry, file_entry

#: What a Python wheel task calls `package_name` and `entry_point`.
PACKAGE, ENTRY_POINT = "dbimage_launcher", "score"

#: Raised with every change of the launcher that a job could see.
VERSION = "1.0"

_MODULE = f"{PACKAGE}.py"
_INFO = f"{PACKAGE}-{VERSION}.dist-info"
_METADATA = f"""\
Metadata-Version: 2.1
Name: {PACKAGE}
Version: {VERSION}
Summary: Starts the scoring program of this image from a Databricks job
License: Apache-2.0
Requires-Python: >=3.8
"""
_WHEEL = """\
Wheel-Version: 1.0
Generator: mlflow-dbimage
Root-Is-Purelib: true
Tag: py3-none-any
"""
# Databricks takes an entry point of any group. This is the one that wheels usually have; there is no command.
_ENTRY_POINTS = f"""\
[console_scripts]
{ENTRY_POINT} = {PACKAGE}:{ENTRY_POINT}
"""


def launcher_entries(site_packages: str) -> list[TarEntry]:
    """Return the files of the installed launcher.

    Args:
        site_packages: Folder of the cluster's Python that they go to, relative to the root of the image:
            `databricks/python3/lib/python3.11/site-packages`.
    """
    contents = {
        _MODULE: (files("mlflow_dbimage.launcher") / _MODULE).read_bytes(),
        f"{_INFO}/INSTALLER": b"dbimage\n",
        f"{_INFO}/METADATA": _METADATA.encode(),
        f"{_INFO}/WHEEL": _WHEEL.encode(),
        f"{_INFO}/entry_points.txt": _ENTRY_POINTS.encode(),
    }
    contents[f"{_INFO}/RECORD"] = _record(contents)
    return [file_entry(f"{site_packages}/{path}", data, 0o644) for path, data in sorted(contents.items())]


def _record(contents: dict[str, bytes]) -> bytes:
    lines = [f"{path},sha256={_hash(data)},{len(data)}" for path, data in sorted(contents.items())]
    return "".join(f"{line}\n" for line in [*lines, f"{_INFO}/RECORD,,"]).encode()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
