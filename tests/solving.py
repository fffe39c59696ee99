"""A solver of real backends on its own caches, and the values that tests give it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from mlflow_dbimage.backends.conda import RattlerConda
from mlflow_dbimage.backends.pip import UvResolver
from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.environment_spec import EnvironmentSpec, Requirement
from mlflow_dbimage.locking.environment_solver import EnvironmentOptions, Solver
from mlflow_dbimage.oci.descriptor import Platform
from sandboxes import sandbox

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def make_solver(root: Path) -> Solver:
    for name in ("conda", "uv", "wheels", "unpacked", "work"):
        (root / name).mkdir(parents=True, exist_ok=True)
    wheels = WheelStore(root / "wheels", UnpackedWheels(root / "unpacked"))
    return Solver(
        conda=RattlerConda(root / "conda"),
        pip=UvResolver(root / "uv", wheels, sandbox),
        wheels=wheels,
        work=root / "work",
    )


def lines(*texts: str, origin: str = "conda.yaml: dependencies") -> tuple[Requirement, ...]:
    return tuple(Requirement(text=text, origin=f"{origin}[{at}]") for at, text in enumerate(texts))


def make_spec(
    directory: Path,
    python: str,
    *,
    conda: tuple[str, ...] = (),
    pip: tuple[str, ...] = (),
    channels: tuple[str, ...] = ("conda-forge",),
    logged_at: datetime | None = None,
) -> EnvironmentSpec:
    return EnvironmentSpec(
        python=python,
        channels=channels,
        conda=lines(*conda),
        pip=lines(*pip, origin="conda.yaml: dependencies[2].pip"),
        directory=directory,
        logged_at=logged_at,
    )


def make_options(channel: str, **changes: object) -> EnvironmentOptions:
    values: dict[str, object] = {"platform": AMD64, "glibc": "2.36", "channel_map": {"conda-forge": channel}}
    return EnvironmentOptions(**{**values, **changes})  # type: ignore[arg-type]  # values of a test's choice
