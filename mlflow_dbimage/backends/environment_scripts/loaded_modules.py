"""Check a model as its image will check itself, and list the source files of all modules that this imported.

Arguments: the folder of the scoring code, the model, the example's file name or nothing, the output, the folder
of kept byte code, the prefix in the image, the socket by which other byte code is asked for, and the folder where
that appears (`compile_bytecode`). The output is a JSON object: `{"modules": [paths relative to the prefix],
"error": one line or null, "check": the report or null}`. What was imported before a failure is listed too; what
is imported only to see that all requirements can be is not. The model's code runs here: the caller gives
this process no credentials, and nothing that it makes is kept.
"""

from __future__ import annotations

import _thread
import hashlib
import importlib._bootstrap_external as bootstrap
import importlib.machinery
import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_dbimage.scoring.self_check import SelfCheck

#: Bytes of a byte code file before the code (PEP 552).
_HEADER = 16


def exercise(library: str, model: str, example: str) -> tuple[SelfCheck | None, str | None]:
    """Do what a scoring job does, as far as it goes; return the check, and what stopped it."""
    sys.path.insert(0, library)
    try:
        from mlflow_dbimage.scoring.rehearsal import rehearse

        checked = rehearse(model, example or None)
    except (Exception, SystemExit) as error:
        return None, "{}: {}".format(type(error).__name__, str(error).split("\n")[0])
    return checked, checked.error


class ByteCode:
    """The byte code that others make of modules: kept from before, or made now by the process that is asked.

    It uses nothing but what Python itself has loaded: what is imported here would count as the model's.

    Args:
        kept: Folder of what is kept.
        made: Folder of what is made now.
        asked: The socket.
        prefix: Of the environment.
    """

    def __init__(self, kept: str, made: str, asked: int, prefix: str) -> None:
        self._kept, self._made, self._asked, self._prefix = kept, made, asked, prefix
        self._lock, self._process = _thread.allocate_lock(), os.getpid()
        names = os.listdir(kept) if os.path.isdir(kept) else []
        self._digests = dict(name.split(".", 1) for name in names if not name.startswith("."))

    def of(self, path: str, source: bytes, name: str) -> bytes | None:
        """Return the byte code of a module; None where it has none, or nobody answers.

        Args:
            path: Where the source is.
            source: What it says.
            name: Its path in the image.
        """
        key = hashlib.sha256(hashlib.sha256(source).digest() + name.encode()).hexdigest()
        if key in self._digests:
            digest = self._digests[key]
            data = _content(os.path.join(self._kept, key + "." + digest))
            if data is not None and hashlib.sha256(data).hexdigest() == digest:
                return data
        place = os.path.join(self._made, key)
        if not os.path.exists(place):
            self._ask(path)
        return _content(place)

    def _ask(self, path: str) -> None:
        if os.getpid() != self._process:
            return  # a child of the model's would take answers that are not for it
        with self._lock:
            try:
                os.write(self._asked, os.fsencode(path[len(self._prefix) + 1 :]))
                os.read(self._asked, 1)
            except OSError:
                pass  # Python compiles for itself


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def use(byte_code: ByteCode, prefix: str, image_prefix: str) -> None:
    """Have imports from below `prefix` use byte code that others made.

    The names that it holds are those of the image; Python itself puts them right, as for any byte code that was
    moved.
    """
    compiled = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, fullname: str) -> object:
        path = self.get_filename(fullname)
        if path.startswith(prefix + os.sep):
            data = byte_code.of(path, self.get_data(path), image_prefix + path[len(prefix) :])
            if data is not None:
                # Reads the code, and puts the names of its files right; typeshed hides it.
                return bootstrap._compile_bytecode(data[_HEADER:], fullname, None, path)  # type: ignore[attr-defined]
        return compiled(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment,method-assign]


def sources(prefix: str) -> list[str]:
    """List the sources below `prefix` of what is imported now."""
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(getattr(module, "__spec__", None), "origin", None)
        if isinstance(path, str) and path.startswith(prefix + os.sep) and path.endswith(".py"):
            found.add(os.path.relpath(path, prefix))
    return sorted(found)


def main() -> None:
    """Exercise the model and write the list."""
    library, model, example, output, kept, image_prefix, asked, made = sys.argv[1:]
    prefix = sys.prefix  # not its real path: modules are found by this one, also where a link leads to the caches
    del sys.path[0]  # the folder of this script
    use(ByteCode(kept, made, int(asked), prefix), prefix, image_prefix)
    saved = os.dup(1)
    os.dup2(2, 1)  # whatever the model prints is noise here
    checked, error = exercise(library, model, example)
    modules = sources(prefix)
    report = None if checked is None else checked.finish()
    os.dup2(saved, 1)
    with open(output, "w") as stream:
        json.dump({"modules": modules, "error": error, "check": report}, stream)
    sys.stdout.flush()
    os._exit(0)  # threads that a library left must not keep us


if __name__ == "__main__":
    main()
