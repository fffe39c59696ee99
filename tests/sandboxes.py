"""The sandbox of this machine, in which environments may also borrow the Python that runs the tests."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from mlflow_dbimage.backends.sandbox import Limits, Sandbox

SANDBOX = replace(Sandbox.find(Limits()), readable=(Path(sys.base_prefix), Path(sys.prefix)))


def sandbox() -> Sandbox:
    """Give it, as those want it who look for one when they run something."""
    return SANDBOX
