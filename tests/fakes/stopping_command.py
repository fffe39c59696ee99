"""The `dbimage` command, stopped in the middle of the first step that `DBIMAGE_TEST_PASSED` does not list.

It says `halted at: <step>` on stderr and goes on when its standard input is closed. The middle of a step is when
it first reports that something is done, else its end: what is made is not yet recorded.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from plugin_entrypoints import progress_view
from plugin_entrypoints.cli import main

_NUMBERS = re.compile(r"\d+")


class StoppingProgress:
    """Progress in lines that stops once."""

    def __init__(self) -> None:
        self._lines = progress_view.LineProgress(sys.stderr)
        self._passed = set(json.loads(os.environ["DBIMAGE_TEST_PASSED"]))
        self._seen: Counter[str] = Counter()
        self._halted = False

    @contextmanager
    def step(self, text: str) -> Iterator[_StoppingStep]:
        short = _NUMBERS.sub("N", text.split("`", maxsplit=1)[0]).strip()
        self._seen[short] += 1
        name = f"{short} #{self._seen[short]}"
        with self._lines.step(text) as inner:
            step = _StoppingStep(inner, lambda: self._halt(name))
            yield step
            self._halt(name)

    def _halt(self, name: str) -> None:
        if self._halted or name in self._passed:
            return
        self._halted = True
        print(f"halted at: {name}", file=sys.stderr, flush=True)
        sys.stdin.read()


class _StoppingStep:
    def __init__(self, inner, halt) -> None:
        self.total, self.note = inner.total, inner.note
        self._inner, self._halt = inner, halt

    def advance(self, count: int = 1) -> None:
        self._inner.advance(count)
        self._halt()


if __name__ == "__main__":
    progress_view.progress_on = lambda *_, **__: StoppingProgress()
    main()
