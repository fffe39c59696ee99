"""Which layers a build would add, and about how large: an estimate from the lock, with nothing installed.

A package's archive is compressed much as its layer will be, so its size stands for the layer's; of wheels a
quarter more does, mostly byte code (docs/measurements.md). The grouping is that of `model_layers`, with these
sizes in the place of those of files, so that a package near the limit may come out in another layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.locked_packages import CondaPackage, LockedWheel
from mlflow_dbimage.model_layers import HEAVY_MODEL_FILE, scoring_entries
from mlflow_dbimage.model_spec import ModelSpec

#: A package of at least so many bytes gets a layer of its own: what `model_layers` calls large, compressed.
_LARGE = 4 << 20
# gzip leaves about a third of texts.
_OF_TEXT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLayer:
    """A layer that a build would add."""

    kind: str
    """`environment`, `scoring` or `model`."""
    title: str
    size: int
    """In bytes, compressed; an estimate."""
    packages: int
    """How many packages share it; 0 where it holds none."""

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)


def predict_layers(locked: LockedEnv, spec: ModelSpec, budget: int) -> tuple[PredictedLayer, ...]:
    """Predict the layers of an environment and of its model, in their order.

    Args:
        locked: What of the environment the base has not; packages of no known size count as nothing.
        spec: The model.
        budget: Most layers that the environment's packages may take.
    """
    packages: list[CondaPackage | LockedWheel] = [*locked.conda, *locked.wheels]
    by_size = sorted(packages, key=lambda each: (-_size(each), each.name))
    large = [each for each in by_size if _size(each) >= _LARGE][: max(budget - 2, 0)]
    rest = [each for each in packages if each not in large]
    own = [_layer(f"{each.name} {each.version}", [each]) for each in large]
    shared = [
        _layer("other conda packages", [each for each in rest if isinstance(each, CondaPackage)]),
        _layer("other packages", [each for each in rest if isinstance(each, LockedWheel)]),
    ]
    return (*own, *(each for each in shared if each.packages), _lock(locked), _scoring(), *_model(spec))


def _layer(title: str, packages: Sequence[CondaPackage | LockedWheel]) -> PredictedLayer:
    size = sum(map(_size, packages))
    return PredictedLayer(kind="environment", title=title, size=size, packages=len(packages))


def _size(package: CondaPackage | LockedWheel) -> int:
    archive = package.size or 0
    return archive * 5 // 4 if isinstance(package, LockedWheel) else archive


def _lock(locked: LockedEnv) -> PredictedLayer:
    size = sum(map(len, locked.files().values())) // _OF_TEXT
    return PredictedLayer(kind="environment", title="lock", size=size, packages=0)


def _scoring() -> PredictedLayer:
    size = sum(entry.size for entry in scoring_entries()) // _OF_TEXT
    return PredictedLayer(kind="scoring", title="scoring code", size=size, packages=0)


def _model(spec: ModelSpec) -> list[PredictedLayer]:
    heavy = [file for file in spec.files if file.size >= HEAVY_MODEL_FILE]
    layers = [_of_model(f"model file {file.path}", file.size) for file in heavy]
    rest = sum(file.size for file in spec.files if file not in heavy)
    return [*layers, _of_model(f"model {spec.name}" + (f" version {spec.version}" if spec.version else ""), rest)]


def _of_model(title: str, size: int) -> PredictedLayer:
    return PredictedLayer(kind="model", title=title, size=size, packages=0)
