"""Calls the build backend of a source distribution (PEP 517) in a sandbox. Python 3.7 and newer.

Arguments: `requires` or `wheel`; the source, a folder or an archive; the folder in it; where an archive is
unpacked; where the wheel goes; where the answer goes, as JSON; the backend; folders of the source that it is in.
The answer is what else the build requires, or the wheel's name.
"""

import importlib
import json
import os
import sys
import tarfile
import zipfile
from typing import Any, List


def main(arguments: List[str]) -> None:
    """Ask the backend, and write its answer."""
    task, source, subdirectory, place, wheels, answer, backend = arguments[:7]
    folder = source if os.path.isdir(source) else unpacked(source, place)
    os.chdir(os.path.join(folder, subdirectory))
    # This script's own folder goes; PEP 517 has the backend's folders first.
    sys.path[:1] = [os.path.abspath(each) for each in arguments[7:]]
    name, _, attributes = backend.partition(":")
    found: Any = importlib.import_module(name)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    if task == "requires":
        hook = getattr(found, "get_requires_for_build_wheel", None)
        result: Any = [] if hook is None else [str(each) for each in hook({})]
    else:
        result = str(found.build_wheel(wheels, {}))
    with open(answer, "w") as stream:
        json.dump(result, stream)


def unpacked(archive: str, place: str) -> str:
    """Unpack an archive, and return its one folder."""
    if not os.path.isdir(place):
        os.mkdir(place)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(place)  # noqa: S202  # the sandbox keeps it in its place
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(place)  # noqa: S202
    (name,) = os.listdir(place)
    return os.path.join(place, name)


if __name__ == "__main__":
    main(sys.argv[1:])
