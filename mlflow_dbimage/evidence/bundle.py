"""Bundles of Sigstore: a signed statement, and with it the certificate that says who has signed, and when.

Here they are only read; who checks them knows the services that vouch for them.

Source: sigstore/protobuf-specs, `protos/sigstore_bundle.proto`, version 0.3; sigstore/cosign,
`specs/BUNDLE_SPEC.md`, for annotations and what is signed of an image.
"""

from __future__ import annotations

from mlflow_dbimage.evidence import statement
from mlflow_dbimage.evidence.envelope import Envelope
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

#: Of the statement that signs an image, and says nothing else of it.
SIGNATURE_PREDICATE = "https://sigstore.dev/cosign/sign/v1"

_TYPES = "application/vnd.dev.sigstore.bundle"
_CONTENT, _PREDICATE = "dev.sigstore.bundle.content", "dev.sigstore.bundle.predicateType"


def is_bundle(data: bytes) -> bool:
    """Whether a document calls itself a bundle."""
    try:
        return str(read_json(data)["mediaType"]).startswith(_TYPES)
    except (ValueError, KeyError, TypeError):
        return False


def payload_of(data: bytes) -> bytes:
    """Return the statement of a bundle; nothing is checked.

    Raises:
        ValueError: It has none.
    """
    try:
        envelope = Envelope.from_bytes(canonical_json(read_json(data)["dsseEnvelope"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a bundle of a statement: {error}") from None
    if envelope.payload_type != statement.MEDIA_TYPE:
        raise ValueError(f"a bundle of `{envelope.payload_type}`")
    return envelope.payload


def signature_of(image: Digest, reference: str) -> Statement:
    """Return the statement by which an image is signed."""
    return Statement(subject_name=reference, subject=image, predicate_type=SIGNATURE_PREDICATE, predicate={})


def annotations_of(predicate_type: str) -> dict[str, str]:
    """Return what lists of referrers say of a bundle."""
    return {_CONTENT: "dsse-envelope", _PREDICATE: predicate_type}
