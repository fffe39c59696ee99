"""Model directories of the samples, made once and kept as long as what they are made from stays the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

CLONE = Path(__file__).resolve().parent.parent.parent

# Samples need scikit-learn and others; the environment of development has them, whichever runs the tests.
_DEVELOPMENT = CLONE / ".venv" / "bin" / "python"


class MadeSamples:
    """Makes each sample when it is first asked for.

    Args:
        kept: Folder in which they are kept, under names that say what they were made from.
    """

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._python = _DEVELOPMENT if _DEVELOPMENT.exists() else Path(sys.executable)

    def directory(self, name: str) -> Path:
        """Return the model directory of a sample; of several processes one makes it.

        Raises:
            RuntimeError: It could not be made.
        """
        target = self._kept / f"{name}-{_key(name)}"
        self._kept.mkdir(parents=True, exist_ok=True)
        with FileLock(self._kept / f"{name}.lock"):
            if not target.exists():
                aside = self._kept / f".{target.name}"
                shutil.rmtree(aside, ignore_errors=True)
                self._make(name, aside)
                aside.rename(target)
        return target

    def _make(self, name: str, directory: Path) -> None:
        command = [str(self._python), "-m", "sample_models", "make", name, str(directory)]
        surroundings = {**os.environ, "PYTHONPATH": str(CLONE)}
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the sample model {name} could not be made:\n{done.stderr}")


def _key(name: str) -> str:
    samples = CLONE / "sample_models"
    sources = [CLONE / "pyproject.toml", *samples.glob("*.py"), *(samples / name).rglob("*")]
    files = sorted(path for path in sources if path.is_file() and "__pycache__" not in path.parts)
    content = [path.name.encode() + b"\0" + path.read_bytes() for path in files]
    return hashlib.sha256(b"\0".join(content)).hexdigest()[:12]
