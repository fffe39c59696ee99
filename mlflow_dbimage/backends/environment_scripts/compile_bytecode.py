"""Compile modules so that their byte code is valid in the image and the same on every machine.

Reads JSON from standard input, `{"mtime": int, "jobs": int, "groups": [[[source, name in the image, output],
...], ...]}`, and writes the outputs. Each group is compiled in a fork of its own, in the order given: what
`marshal` writes depends on which constants the process has seen before, so a group must not see what another
left (docs/measurements.md; cpython issue 129724). A source that does not compile is left out, as `compileall`
does.
"""

from __future__ import annotations

import importlib._bootstrap_external as bootstrap
import json
import os
import sys
import warnings


def compile_one(source: str, name: str, output: str, mtime: int) -> None:
    """Write the byte code of one source, if it compiles."""
    with open(source, "rb") as stream:
        text = stream.read()
    try:
        code = compile(text, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return
    os.makedirs(os.path.dirname(output), exist_ok=True)
    with open(output, "wb") as stream:
        # What `py_compile` calls; typeshed hides it.
        stream.write(bootstrap._code_to_timestamp_pyc(code, mtime, len(text)))  # type: ignore[attr-defined]


def start(group: list[list[str]], mtime: int) -> int:
    """Fork, compile a group in the child, and return the child's ID."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for source, name, output in group:
            compile_one(source, name, output, mtime)
        status = 0
    finally:
        os._exit(status)


def main() -> int:
    """Compile all groups, so many at a time."""
    warnings.simplefilter("ignore")  # the packages' own, such as invalid escapes
    request = json.load(sys.stdin)
    running = failed = 0
    for group in request["groups"]:
        if running >= request["jobs"]:
            failed += os.wait()[1] != 0
            running -= 1
        start(group, request["mtime"])
        running += 1
    while running:
        failed += os.wait()[1] != 0
        running -= 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
