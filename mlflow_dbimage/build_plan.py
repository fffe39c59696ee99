"""The plan of a build: all that is decided before anything is installed or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.layer_prediction import PredictedLayer
from mlflow_dbimage.layout_choice import EnvironmentLayout
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.model_reference import ModelReference
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.runtime_match import RuntimeMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """Which model, on which base, with which packages."""

    reference: ModelReference
    spec: ModelSpec
    match: RuntimeMatch
    base: BaseImage
    layout: EnvironmentLayout
    layers: tuple[PredictedLayer, ...]
    """That would be added to the base; sizes are estimates."""
    pickle_notes: tuple[str, ...]
    """Where what made the model's pickles is not quite what the environment has."""
    work: Path
    """The folder of this build: the model is downloaded below it."""

    @property
    def locked(self) -> LockedEnv:
        """The environment's lock."""
        return self.layout.locked

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the decisions."""
        decisions = tuple(
            f"{each.distribution}: from {each.owner}, {each.reason}" for each in self.layout.decisions
        )
        return (
            *self.match.notes,
            *self.spec.notes,
            *self.pickle_notes,
            *self.layout.notes,
            *self.locked.notes,
            *decisions,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "model": {
                "uri": self.reference.pinned_uri,
                "name": self.spec.name,
                "version": self.spec.version,
                "digest": str(self.spec.digest),
                "size": sum(file.size for file in self.spec.files),
                "mlflow": self.spec.mlflow_version,
            },
            "runtime": self.match.runtime.key if self.match.runtime else None,
            "reasons": list(self.match.reasons),
            "match": self.match.fit.to_dict() if self.match.fit else None,
            "base": {
                "reference": self.base.reference,
                "digest": str(self.base.image.digest),
                "system": self.base.system,
                "glibc": self.base.glibc,
                "layers": len(self.base.image.layers),
                "size": sum(layer.descriptor.size for layer in self.base.image.layers),
            },
            "environment": self.layout.to_dict(),
            "python": self.locked.python,
            "platform": str(self.locked.platform),
            "lock": str(self.locked.digest),
            "packages": [
                {"name": each.name, "version": each.version, "manager": "conda", "size": each.size}
                for each in self.locked.conda
            ]
            + [
                {"name": each.name, "version": each.version, "manager": "pip", "size": each.size}
                for each in self.locked.wheels
            ],
            "layers": [each.to_dict() for each in self.layers],
            "predicted_size": sum(each.size for each in self.layers),
            "notes": list(self.notes),
        }
