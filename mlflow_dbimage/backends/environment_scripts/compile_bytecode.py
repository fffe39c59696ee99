"""Compile modules so that their byte code is valid in the image, and a function of source, name and Python alone.

Reads JSON from standard input, `{"mtime": int, "jobs": int, "tasks": [[source, name in the image, output], ...]}`,
and writes the outputs. A source that does not compile is left out, as `compileall` does.

Version 2 of `marshal` is written: newer ones note which constants are shared, and that depends on what else the
process has seen (cpython issue 129724). Every Python reads all versions.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import struct
import sys
import warnings

_MARSHAL = 2


def compile_one(source: str, name: str, output: str, mtime: int) -> None:
    """Write the byte code of one source, if it compiles."""
    with open(source, "rb") as stream:
        text = stream.read()
    try:
        code = compile(text, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return
    # PEP 552: magic number, no flags, time of the source and its size.
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, mtime, len(text) & 0xFFFFFFFF)
    with open(output, "wb") as stream:
        stream.write(header + marshal.dumps(code, _MARSHAL))


def start(tasks: list[list[str]], mtime: int) -> int:
    """Fork, compile some tasks in the child, and return the child's ID."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for source, name, output in tasks:
            compile_one(source, name, output, mtime)
        status = 0
    finally:
        os._exit(status)


def main() -> int:
    """Compile all tasks, shared out to so many processes."""
    warnings.simplefilter("ignore")  # the packages' own, such as invalid escapes
    request = json.load(sys.stdin)
    jobs = request["jobs"]
    started = [start(request["tasks"][first::jobs], request["mtime"]) for first in range(jobs)]
    failed = sum(os.wait()[1] != 0 for _ in started)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
