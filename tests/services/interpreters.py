"""The Pythons of this machine that images may have: those of pyenv, and the one that runs the tests."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_OLDEST = (3, 7)


def interpreters() -> list[Path]:
    """Return the interpreters, one a minor version."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {sys.version_info[:2]: Path(sys.executable)}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        version = re.match(r"(\d+)\.(\d+)\.\d+$", folder.name)
        program = folder / "bin" / "python3"
        if version and (minor := (int(version[1]), int(version[2]))) >= _OLDEST and program.is_file():
            found.setdefault(minor, program)
    return [found[minor] for minor in sorted(found)]
