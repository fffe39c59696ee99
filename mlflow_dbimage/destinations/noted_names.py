"""Names that a small artifact keeps where a registry cannot be asked for its repositories.

Two builds that write it at once may lose a name from the list, never an image.
"""

from __future__ import annotations

import json

from mlflow_dbimage.destinations.deployment import INDEX_NAME
from mlflow_dbimage.oci.artifact import Artifact
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.registry import Registry, Repository

_TAG = "names"
_TYPE = "application/vnd.dbimage.names.v1"


class NotedNames:
    """The names below a path of a registry.

    Args:
        registry: The registry.
        prefix: The path; may be empty.
    """

    def __init__(self, registry: Registry, prefix: str) -> None:
        self._registry = registry
        self._index = Repository(registry, f"{prefix}/{INDEX_NAME}".strip("/"))

    def names(self) -> tuple[str, ...]:
        """Return those that were noted."""
        if _TAG not in self._index.tags():
            return ()
        _, manifest = self._index.resolve(_TAG)
        try:
            names = read_json(read_json(manifest)["annotations"]["dev.dbimage.names"])
            return tuple(name for name in names if isinstance(name, str))
        except (ValueError, KeyError, TypeError):
            return ()  # not our list: the next name that is noted takes its place

    def note(self, name: str, *, present: bool) -> None:
        """Note that a name is there, or is no longer, unless the registry itself can be asked."""
        if self._registry.has_catalog():
            return
        names = set(self.names())
        changed = names | {name} if present else names - {name}
        if changed == names:
            return
        annotations = {"dev.dbimage.names": json.dumps(sorted(changed))}
        listed = Artifact(artifact_type=_TYPE, contents=(), annotations=annotations)
        self._index.put_artifact(_TAG, listed)
