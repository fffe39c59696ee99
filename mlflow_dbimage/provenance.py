"""How an image was made, as a statement that others can read: from which model and base, with which parameters.

It says what the image's own record says, in the terms of SLSA, and where the model's code came from. Nothing of
the building machine is in it, nor when it was: equal inputs give an equal statement.

Source: SLSA 1.0, `provenance/v1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.digest import Digest

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"

#: What the parameters of our builds mean: `docs/evidence.md`.
BUILD_TYPE = "https://dbimage.dev/build/v1"
BUILDER = "https://dbimage.dev/builder/v1"

_BILL = "bill of materials"


Bills = Sequence[tuple[str, Digest]]
"""Media type and digest of each bill of materials."""


def provenance(
    record: ImageRecord,
    image: Digest,
    reference: str,
    origin: ModelOrigin,
    builder_version: str,
    *,
    bills: Bills = (),
) -> Statement:
    """State how an image was made.

    Args:
        record: The image's.
        image: Digest of its manifest.
        reference: How people call it.
        origin: Where the model's code came from.
        builder_version: Of this package.
        bills: That the build wrote of the image: who signs how it was made signs what is in it.
    """
    details: dict[str, Any] = {"builder": {"id": BUILDER, "version": {"mlflow-dbimage": builder_version}}}
    if bills:
        details["byproducts"] = [
            {"name": _BILL, "mediaType": media_type, "digest": {"sha256": digest.hex}}
            for media_type, digest in bills
        ]
    return Statement(
        subject_name=reference,
        subject=image,
        predicate_type=PREDICATE_TYPE,
        predicate={
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _external(record),
                "internalParameters": {"compressor": record.compressor, "format": record.format},
                "resolvedDependencies": _dependencies(record, origin),
            },
            "runDetails": details,
        },
    )


def bills_of(made: Statement) -> tuple[tuple[str, Digest], ...]:
    """Return the media type and digest of each bill of materials that a provenance names."""
    try:
        return tuple(
            (str(each["mediaType"]), Digest.parse(f"sha256:{each['digest']['sha256']}"))
            for each in made.predicate["runDetails"]["byproducts"]
            if each["name"] == _BILL
        )
    except (KeyError, TypeError, ValueError):
        return ()


def _external(record: ImageRecord) -> dict[str, Any]:
    parameters = {
        "model": record.model_uri,
        "runtime": record.runtime,
        "base": record.base_reference,
        "platform": record.platform,
        "env_layout": record.env_layout,
        "bytecode": record.bytecode,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _dependencies(record: ImageRecord, origin: ModelOrigin) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        _dependency("model", record.model_uri, record.model_digest),
        _dependency("base image", record.base_reference, record.base_digest),
        _dependency("environment lock", None, record.lock_digest),
    ]
    if origin.run_id is not None:
        found.append({"name": "run", "uri": f"runs:/{origin.run_id}"})
    if origin.commit is not None:
        source = {"name": "source", "digest": {"gitCommit": origin.commit}}
        found.append({**source, "uri": f"git+{origin.repository}"} if origin.repository else source)
    return found


def _dependency(name: str, uri: str | None, digest: str) -> dict[str, Any]:
    algorithm, _, value = digest.partition(":")
    return {"name": name, **({"uri": uri} if uri else {}), "digest": {algorithm: value}}
