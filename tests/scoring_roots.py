"""A folder as images have it, with this Python (or another) as environment: enough for the scoring program."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow_dbimage.model_layers import scoring_entries


def scoring_root(directory: Path, python: Path, model: Path) -> Path:
    """Lay out `<directory>/opt/dbimage` and return it.

    Args:
        directory: A new folder.
        python: The `bin/python` of a virtual environment.
        model: An MLflow model.
    """
    for entry in scoring_entries():
        assert entry.content is not None
        path = directory / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with entry.content() as stream:
            path.write_bytes(stream.read())
        path.chmod(entry.mode)
    root = directory / "opt" / "dbimage"
    (root / "env").symlink_to(python.parent.parent)
    (root / "model").symlink_to(model)
    return root


def score(
    root: Path, *arguments: object, environment: Mapping[str, str] | None = None, **more: object
) -> subprocess.CompletedProcess[str]:
    """Run the scoring program of a root, as a user would."""
    return subprocess.run(
        command(root, arguments),
        env={"PATH": os.defpath, **(environment or {})},
        text=True,
        capture_output=True,
        check=False,
        **more,
    )


def command(root: Path, arguments: Sequence[object]) -> list[str]:
    """The command line of a root's scoring program."""
    return [str(root / "bin" / "score"), *map(str, arguments)]
