"""The launcher installed as a layer brings it, and run as a Python wheel task runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlflow_dbimage.launcher.distribution import launcher_entries

# What Databricks does for a Python wheel task, as far as its documentation tells.
TASK = """
import sys
from importlib.metadata import distribution
site, *parameters = sys.argv[1:]
sys.path.insert(0, site)
sys.argv = ["dbimage_launcher", *parameters]
(point,) = [each for each in distribution("dbimage_launcher").entry_points if each.name == "score"]
try:
    print("returned", point.load()())
except RuntimeError as error:
    print("raised", str(error))
"""


def install_launcher(root: Path) -> Path:
    """Write the launcher below a folder, and return the folder of packages that it is in."""
    for entry in launcher_entries("lib/site-packages"):
        assert entry.content is not None
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with entry.content() as stream:
            path.write_bytes(stream.read())
    return root / "lib" / "site-packages"


def task(site: Path, root: Path, *parameters: str, python: str = sys.executable, **variables: str) -> str:
    """Run the entry point in a Python of its own, and return what it writes."""
    done = subprocess.run(
        [python, "-c", TASK, str(site), *parameters],
        env={"PATH": os.defpath, "DBIMAGE_ROOT": str(root), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
