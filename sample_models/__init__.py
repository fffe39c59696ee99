"""Sample models: each folder is at once an example, a test fixture and documentation.

A folder `<name>/` holds `make.py` with a function `make(directory)` that writes an MLflow model directory,
a README, and, for good samples, `input.csv` and `expected.csv`. Samples named `bad-<why>` are models that
cannot be packaged. `python -m sample_models` lists, makes and registers them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent


def names(*, good: bool | None = None) -> tuple[str, ...]:
    """List the samples; all, or only the good ones, or only the bad."""
    found = sorted(path.parent.name for path in _ROOT.glob("*/make.py"))
    return tuple(name for name in found if good is None or name.startswith("bad-") is not good)


def folder(name: str) -> Path:
    """Find the folder of a sample.

    Raises:
        ValueError: There is no such sample.
    """
    if name not in names():
        raise ValueError(f"no sample model {name!r}; there are {', '.join(names())}")
    return _ROOT / name


def make(name: str, directory: Path) -> Path:
    """Make the model directory of a sample, in a process of its own.

    Args:
        name: The sample.
        directory: Where the model is to be; must not exist or be empty.

    Raises:
        ValueError: There is no such sample.
        RuntimeError: It could not be made.

    Returns:
        The directory, resolved.
    """
    folder(name)
    directory = directory.resolve()
    command = [sys.executable, "-m", "sample_models", "make", name, str(directory)]
    # MLflow keeps its settings, its warnings and its files of the working directory out of this process.
    path = os.pathsep.join(filter(None, [str(_ROOT.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the sample model {name} could not be made:\n{done.stderr}")
    return directory
