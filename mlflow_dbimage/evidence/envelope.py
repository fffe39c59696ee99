"""DSSE envelopes: a payload and its signatures.

What is signed is not the payload alone, but its type too, so that no signature of one thing passes for that of
another.

Source: secure-systems-lab/dsse, `protocol.md` and `envelope.md`, version 1.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.evidence.signing_key import SigningKey, VerifyingKey
from mlflow_dbimage.evidence.tagged_manifest import SIGNATURE_ANNOTATION, TaggedManifest, tagged_manifest
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json

MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"

_KIND = "predicateType"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A signed payload."""

    payload_type: str
    """Media type of the payload."""
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """Key identifier (a hint, which nothing trusts) and signature of each signer."""

    def to_bytes(self) -> bytes:
        """Give the JSON form."""
        return canonical_json(
            {
                "payloadType": self.payload_type,
                "payload": base64.b64encode(self.payload).decode(),
                "signatures": [
                    {"keyid": key_id, "sig": base64.b64encode(signature).decode()}
                    for key_id, signature in self.signatures
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read an envelope; its signatures are not checked.

        Raises:
            ValueError: It is none.
        """
        try:
            document = read_json(data)
            return cls(
                payload_type=str(document["payloadType"]),
                payload=base64.b64decode(document["payload"], validate=True),
                signatures=tuple(
                    (str(each.get("keyid") or ""), base64.b64decode(each["sig"], validate=True))
                    for each in document["signatures"]
                ),
            )
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise ValueError(f"not a DSSE envelope: {error}") from None

    def verified_by(self, key: VerifyingKey) -> bool:
        """Whether one of the signatures is that key's."""
        signed = pre_authentication_encoding(self.payload_type, self.payload)
        return any(key.verifies(signature, signed) for _, signature in self.signatures)


def sign(payload_type: str, payload: bytes, key: SigningKey) -> Envelope:
    """Put a payload into an envelope, signed by one key.

    Raises:
        ServiceError: As `SigningKey.sign`.
    """
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return Envelope(payload_type=payload_type, payload=payload, signatures=((key_id(key.public_pem), signature),))


def attestations_tag(image: Digest) -> str:
    """Return the tag under which cosign looks for an image's attestations."""
    return f"sha256-{image.hex}.att"


def to_manifest(
    attestations: Iterable[tuple[str, Envelope]], before: Sequence[Mapping[str, Any]] = ()
) -> TaggedManifest:
    """Return what is stored under that tag.

    Args:
        attestations: The predicate type of each statement, and its envelope.
        before: Entries of others that are there.
    """
    contents = (
        (MEDIA_TYPE, envelope.to_bytes(), {SIGNATURE_ANNOTATION: "", _KIND: kind})
        for kind, envelope in attestations
    )
    return tagged_manifest(contents, before)


def kind_of(entry: Descriptor) -> str | None:
    """Return the predicate type that the manifest under that tag notes of an envelope."""
    return entry.annotations.get(_KIND)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed in the place of a payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(public_pem: bytes) -> str:
    """Return a name for a key: the SHA-256 of its PEM, in hexadecimal digits."""
    return hashlib.sha256(public_pem.strip()).hexdigest()
