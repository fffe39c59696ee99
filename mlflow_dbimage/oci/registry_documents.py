"""What registries answer with where manifests and indexes are asked for, and what kind it is."""

from __future__ import annotations

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.descriptor import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.registry_transport import Answer

_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX)

#: The header of a request that takes any of them.
ACCEPT = ", ".join(_TYPES)


def media_type(answer: Answer, place: str) -> str:
    """Return what a manifest says that it is; it and the registry must not differ (CVE-2021-41190)."""
    told = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    try:
        own = read_json(answer.data).get("mediaType") or ""
    except (ValueError, AttributeError) as error:
        raise InputError("base-invalid", f"the manifest of `{place}` is no JSON object") from error
    if own and told in _TYPES and own != told:
        raise InputError("base-invalid", f"the manifest of `{place}` calls itself `{own}`, the registry `{told}`")
    return str(own or told)
