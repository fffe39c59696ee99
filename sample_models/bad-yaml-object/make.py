"""A conda.yaml that makes a careless reader run a command."""

from __future__ import annotations

from pathlib import Path

from sample_models import whole_model


def make(directory: Path) -> None:
    whole_model.write(directory)
    trap = '- !!python/object/apply:os.system ["touch dbimage-was-here"]\n'
    (directory / "conda.yaml").write_text(f"channels:\n- conda-forge\ndependencies:\n{trap}")
