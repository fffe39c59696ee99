"""Signatures of an image in the form that cosign makes and checks.

A signature is of a small document that names the image's digest. It lies as the layer of a manifest under a tag
that is named for that digest.

Source: sigstore/cosign, `specs/SIGNATURE_SPEC.md`; containers/image, `docs/containers-signature.5.md` for the
document.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.evidence.signing_key import SigningKey, VerifyingKey
from mlflow_dbimage.evidence.tagged_manifest import SIGNATURE_ANNOTATION, TaggedManifest, tagged_manifest
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"

_TYPE = "cosign container image signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSignature:
    """A signature of one image."""

    payload: bytes
    """The document that is signed."""
    signature: bytes

    @property
    def subject(self) -> Digest:
        """The image that the document names.

        Raises:
            ValueError: It is no such document.
        """
        try:
            critical = read_json(self.payload)["critical"]
            if critical["type"] != _TYPE:
                raise ValueError(f"a document of the type `{critical['type']}`")
            return Digest.parse(critical["image"]["docker-manifest-digest"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no document of an image's signature: {error}") from None

    def verified_by(self, key: VerifyingKey, image: Digest) -> bool:
        """Whether it is that key's signature of that image."""
        try:
            return self.subject == image and key.verifies(self.signature, self.payload)
        except ValueError:
            return False


def sign(image: Digest, reference: str, key: SigningKey) -> ImageSignature:
    """Sign an image.

    Args:
        image: Digest of its manifest.
        reference: Its repository, for people: nothing is checked against it.
        key: Signs.

    Raises:
        ServiceError: As `SigningKey.sign`.
    """
    payload = document(image, reference)
    return ImageSignature(payload=payload, signature=key.sign(payload))


def document(image: Digest, reference: str) -> bytes:
    """Return what is signed of an image, called by the name of its repository."""
    return canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": str(image)},
                "type": _TYPE,
            },
            "optional": None,
        }
    )


def signature_tag(image: Digest) -> str:
    """Return the tag under which an image's signatures lie."""
    return f"sha256-{image.hex}.sig"


def to_manifest(signatures: Iterable[ImageSignature], before: Sequence[Mapping[str, Any]] = ()) -> TaggedManifest:
    """Return what is stored under the tag, after the entries of others that are there."""
    contents = (
        (PAYLOAD_TYPE, each.payload, {SIGNATURE_ANNOTATION: base64.b64encode(each.signature).decode()})
        for each in signatures
    )
    return tagged_manifest(contents, before)


def signature_of(entry: Mapping[str, Any]) -> tuple[Descriptor, bytes]:
    """Return the descriptor of a payload that such a manifest lists, and its signature.

    Raises:
        ValueError: The entry is of something else.
    """
    described = Descriptor.from_dict(entry)
    if described.media_type != PAYLOAD_TYPE:
        raise ValueError(f"an entry of the type `{described.media_type}`")
    try:
        return described, base64.b64decode(described.annotations[SIGNATURE_ANNOTATION], validate=True)
    except (KeyError, binascii.Error) as error:
        raise ValueError(f"an entry without a signature: {error}") from None
