"""What came of building an image again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.image_comparison import Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of it."""

    name: str
    digest: str
    """Of the image."""
    rebuilt: str
    """Digest of the image that was built again."""
    model_from: str
    """`registry` or `image`."""
    compared: str
    """`bytes`, or `contents` where another compressor wrote the image: then diff IDs, and not digests."""
    difference: Difference | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def error(self) -> VerificationError | None:
        """The error to end with; None where nothing differs."""
        if self.difference is None:
            return None
        return VerificationError(
            "not-reproduced",
            f"`{self.name}` is not what its record and locks give: {self.difference}",
            hint="another version of mlflow-dbimage has other code in its layers; else the image, its model or"
            " its base was changed after it was built",
            details={"difference": self.difference.to_dict()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "image": self.name,
            "digest": self.digest,
            "rebuilt": self.rebuilt,
            "reproduced": self.difference is None,
            "compared": self.compared,
            "model_from": self.model_from,
            "difference": None if self.difference is None else self.difference.to_dict(),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }
