"""A process that ends soon collects seldom, and at its end leaves to the system what it has."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import gc
from mlflow_dbimage.short_process import short_process

class Cycle:
    def __del__(self):
        print("looked through")

with short_process():
    cycles = [Cycle() for _ in range(10)]
    for each in cycles:
        each.own = each
    del cycles, each
    kept = [[] for _ in range(20_000)]
    print(gc.isenabled())
print(gc.get_freeze_count() > 20_000)
gc.collect()
"""


def test_what_is_made_is_neither_looked_through_meanwhile_nor_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True", "True"]
