"""Compile modules so that their byte code is valid in the image, and a function of source, name and Python alone.

Reads JSON from standard input, and writes files. A source that does not compile is left out, as `compileall` does.

- `{"mtime": int, "jobs": int, "tasks": [[source, name in the image, output], ...]}` compiles what is listed.
- `{"mtime": int, "jobs": int, "prefix": str, "image_prefix": str, "socket": int, "output": str}` compiles while
  another process imports: what that asks for by the socket, and in between what it is likely to ask for next. A
  packet is the path of a source relative to the prefix; the answer comes when its byte code is in the output
  folder, under its key (`backends.kept_bytecode`), or cannot be made. Ends when nobody is left to ask.

Version 2 of `marshal` is written: newer ones note which constants are shared, and that depends on what else the
process has seen (cpython issue 129724). Every Python reads all versions.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import marshal
import os
import re
import select
import socket
import struct
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_MARSHAL = 2
_LONGEST_PATH = 4096
#: What is imported as soon as a module is: what its functions import may never be.
_IMPORT = re.compile(
    rb"^(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([^\n#]*))", re.MULTILINE
)
_NAME = re.compile(r"[.\w]+")


def compile_one(text: bytes, name: str, output: str, mtime: int) -> None:
    """Write the byte code of one source, if it compiles; who finds the file finds all of it."""
    try:
        code = compile(text, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return
    # PEP 552: magic number, no flags, time of the source and its size.
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, mtime, len(text) & 0xFFFFFFFF)
    aside = "{}.{}".format(output, os.getpid())
    with open(aside, "wb") as stream:
        stream.write(header + marshal.dumps(code, _MARSHAL))
    os.rename(aside, output)


def compile_listed(request: dict[str, Any], number: int) -> None:
    """Compile the share of one process, by its number."""
    for source, name, output in request["tasks"][number :: request["jobs"]]:
        compile_one(_read(source), name, output, request["mtime"])


class OnDemand:
    """One of several processes that share the socket: whoever is free takes the next packet.

    Args:
        request: As the module says.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._asked = socket.socket(fileno=request["socket"])
        self._prefix, self._image_prefix = request["prefix"], request["image_prefix"]
        self._output, self._mtime = request["output"], request["mtime"]
        library = os.path.join(self._prefix, "lib", "python{}.{}".format(*sys.version_info))
        self._roots = (library, os.path.join(library, "site-packages"))
        self._guesses: list[str] = []
        """Sources that may be asked for, the next one last."""
        self._guessed: set[str] = set()

    def serve(self) -> None:
        """Answer until nobody is left to ask."""
        waiting = select.poll()
        waiting.register(self._asked, select.POLLIN)
        while True:
            if not waiting.poll(0 if self._guesses else None):
                self._compile(self._guesses.pop())
                continue
            try:
                source = os.fsdecode(self._asked.recv(_LONGEST_PATH, socket.MSG_DONTWAIT))
                if not source:
                    return
                self._compile(os.path.join(self._prefix, source))
                self._asked.send(b"1")
            except BlockingIOError:
                continue  # another process was faster
            except OSError:
                return

    def _compile(self, source: str) -> None:
        try:
            text = _read(source)
        except (OSError, ValueError):
            return
        name = self._image_prefix + source[len(self._prefix) :]
        key = hashlib.sha256(hashlib.sha256(text).digest() + name.encode()).hexdigest()
        output = os.path.join(self._output, key)
        if os.path.exists(output):
            return
        guesses = [each for each in imported_by(source, text, self._roots) if each not in self._guessed]
        self._guessed.update(guesses)
        self._guesses += reversed(guesses)
        compile_one(text, name, output, self._mtime)


def imported_by(source: str, text: bytes, roots: tuple[str, ...]) -> Iterator[str]:
    """Yield the sources that a module seems to import when it is imported.

    Args:
        source: Its path.
        text: What it says.
        roots: Folders in which modules are found by their whole name.
    """
    for match in _IMPORT.finditer(text):
        origin, names, modules = (_NAME.findall((each or b"").decode("latin-1")) for each in match.groups())
        for module in modules:
            yield from _found(module, [], source, roots)
        for module in origin:
            yield from _found(module, names, source, roots)


def _found(module: str, names: list[str], source: str, roots: tuple[str, ...]) -> Iterator[str]:
    """Yield the sources of a module, of the packages that it is in, and of those names in it that are modules."""
    parts = module.lstrip(".").split(".") if module.strip(".") else []
    folder = source
    for _ in range(len(module) - len(module.lstrip("."))):
        folder = os.path.dirname(folder)
    if folder == source:
        places = [root for root in roots if _source_in(root, parts[0])]
        if not places:
            return
        folder = places[0]
    for part in parts:
        found = _source_in(folder, part)
        if found is None:
            return
        yield found
        folder = os.path.join(folder, part)
    for name in names:
        found = _source_in(folder, name)
        if found is not None:
            yield found


@functools.lru_cache(maxsize=None)
def _source_in(folder: str, name: str) -> str | None:
    places = (os.path.join(folder, name, "__init__.py"), os.path.join(folder, name + ".py"))
    return next((place for place in places if os.path.exists(place)), None)


def _read(source: str) -> bytes:
    with open(source, "rb") as stream:
        return stream.read()


def share_out(jobs: int, work: Callable[[int], None]) -> int:
    """Fork so many processes, and have each do its part, by number; return how many failed."""
    for number in range(jobs):
        if os.fork() == 0:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                os._exit(status)
    return sum(os.wait()[1] != 0 for _ in range(jobs))


def main() -> int:
    """Do what is asked, by so many processes."""
    warnings.simplefilter("ignore")  # the packages' own, such as invalid escapes
    request = json.load(sys.stdin)

    def work(number: int) -> None:
        if "socket" in request:
            OnDemand(request).serve()
        else:
            compile_listed(request, number)

    return 1 if share_out(request["jobs"], work) else 0


if __name__ == "__main__":
    sys.exit(main())
