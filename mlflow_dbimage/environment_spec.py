"""What a model asks of its environment: Python, channels, conda requirements and pip lines.

`model_spec` reads it from conda.yaml, python_env.yaml and requirements.txt; `locked_env` solves it.
Nothing here reads a file or knows a solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One line of the model's environment, and where it stands."""

    text: str
    """As written, comment and surrounding space dropped.

    A conda requirement is a match specification (`libgcc-ng>=9`, `conda-forge::lightgbm=3.1`). A pip line
    is a line of a requirements file: a requirement, a URL, a path relative to the model, or an option (`-c
    constraints.txt`, `-r requirements.txt`, `--extra-index-url ...`).
    """
    origin: str
    """For people: `conda.yaml: dependencies[2].pip[4]`, `requirements.txt: line 7`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """The environment that a model asks for."""

    python: str
    """Of the model: `3.11.7`, or `3.11` where no more is known. Its minor is a requirement."""
    channels: tuple[str, ...]
    """Names or URLs, highest priority first; empty where the model names none."""
    conda: tuple[Requirement, ...]
    """Conda requirements without `python` itself; `pip` is among them where the model names it."""
    pip: tuple[Requirement, ...]
    """Pip lines in the order of the file."""
    directory: Path
    """The model's directory, to which paths in pip lines are relative."""
    logged_at: datetime | None
    """When the model was logged, in UTC; unpinned requirements are solved as of then."""

    @property
    def python_minor(self) -> str:
        """The Python without its patch: `3.11`."""
        return ".".join(self.python.split(".")[:2])
