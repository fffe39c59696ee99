"""Load a model, predict on its example, and list the source files of all modules that this imported.

Arguments: the folder of the scoring code, the model, the example's file name or nothing, and the output, a JSON
object: `{"modules": [paths relative to the prefix], "error": one line or null}`. What was imported before a
failure is listed too. The model's code runs here: the caller gives this process no credentials.
"""

from __future__ import annotations

import json
import os
import sys


def exercise(library: str, model: str, example: str) -> str | None:
    """Do what a scoring job does, as far as it goes; return what stopped it, or None."""
    sys.path.insert(0, library)
    try:
        from mlflow_dbimage.scoring.rehearsal import rehearse

        rehearse(model, example or None)
    except (Exception, SystemExit) as error:
        return "{}: {}".format(type(error).__name__, str(error).split("\n")[0])
    return None


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
    library, model, example, output = sys.argv[1:]
    prefix = os.path.realpath(sys.prefix)
    saved = os.dup(1)
    os.dup2(2, 1)  # whatever the model prints is noise here
    error = exercise(library, model, example)
    os.dup2(saved, 1)
    with open(output, "w") as stream:
        json.dump({"modules": sources(prefix), "error": error}, stream)
    sys.stdout.flush()
    os._exit(0)  # threads that a library left must not keep us


if __name__ == "__main__":
    main()
