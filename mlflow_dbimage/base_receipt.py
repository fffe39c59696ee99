"""What the build of one golden base did, beside the record inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.destinations.golden_bases import GoldenBase


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReceipt:
    """A golden base that was built, and what it took."""

    base: GoldenBase
    image_size: int
    """Bytes of all layers, compressed, the system's included."""
    added_size: int
    """Bytes of our layers, compressed."""
    environment_reused: bool
    """Whether the environment's layers came from the cache."""
    notes: tuple[str, ...]
    seconds: float

    @property
    def mapping(self) -> str:
        """The lines of a configuration file by which models of the runtime find the base."""
        runtime = self.base.record.runtime or "RUNTIME"
        return f'[bases]\n"{runtime}" = "{self.base.reference}"'

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            **self.base.to_dict(),
            "image_size": self.image_size,
            "added_size": self.added_size,
            "environment_reused": self.environment_reused,
            "mapping": self.mapping,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }
