"""Roots of bases with a cluster's Python, as synthetic as a test wants them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from mlflow_dbimage.cluster_python import ClusterPython, read
from mlflow_dbimage.oci.root_listing import RootListing, read_listing
from oci_samples import foreign_tar, image_of, plain_layer

SITE = "databricks/python3/lib/python3.11/site-packages"
SYSTEM = "usr/lib/python3/dist-packages"
SETTINGS = b"home = /usr/bin\ninclude-system-site-packages = true\nversion_info = 3.11.11.final.0\n"

Root = dict[str, str | bytes | None]
"""By path: content of a file, target of a link, or None for a directory."""


def cluster_root(*parts: Root, settings: bytes = SETTINGS) -> Root:
    """A root with an empty environment, and what the parts add."""
    root: Root = {
        "usr/bin/python3.11": b"\x7fELF",
        "databricks/python3/pyvenv.cfg": settings,
        "databricks/python3/bin/python": "/usr/bin/python3.11",
        SITE: None,
    }
    for part in parts:
        root |= part
    return root


def distribution(
    name: str,
    version: str = "1.0",
    *,
    folder: str = SITE,
    requires: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    scripts: Sequence[str] = (),
) -> Root:
    """What installing a wheel leaves: by default one module of its name, with byte code that RECORD lacks."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    members = dict({f"{module}/__init__.py": f"version = '{version}'\n".encode()} if files is None else files)
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode()
    members |= {f"../../../bin/{script}": b"#!/databricks/python3/bin/python\n" for script in scripts}
    rows = "".join(f"{path},sha256={_hash(data)},{len(data)}\n" for path, data in members.items())
    members[f"{info}/RECORD"] = f"{rows}{info}/RECORD,,\n".encode()
    for path in [path for path in members if path.endswith(".py")]:
        parent, _, stem = path.removesuffix(".py").rpartition("/")
        members[f"{parent}/__pycache__/{stem}.cpython-311.pyc".lstrip("/")] = b"code"
    root = folder.rsplit("/", 3)[0]
    return {
        f"{root}/{path[9:]}" if path.startswith("../") else f"{folder}/{path}": data
        for path, data in members.items()
    }


def listing_of(root: Root) -> RootListing:
    return read_listing(image_of(plain_layer(foreign_tar(root.items()))), lambda path: True)


def cluster_of(*parts: Root) -> ClusterPython:
    return read(listing_of(cluster_root(*parts)), "a/base:1")


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
