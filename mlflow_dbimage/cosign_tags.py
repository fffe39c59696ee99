"""The signatures and statements of an image under the tags where cosign looks for them.

Others write these tags too, with other keys: what they have put there stays. Of our own key a tag has one
signature of the image, and of each kind one statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.evidence import envelope, image_signature, statement
from mlflow_dbimage.evidence.envelope import Envelope
from mlflow_dbimage.evidence.image_signature import ImageSignature
from mlflow_dbimage.evidence.signing_key import KeyPair, VerifyingKey
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.evidence.tagged_manifest import TaggedManifest, entries_of
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.referrer_store import ReferrerStore

_Entry = Mapping[str, Any]


def is_signed(store: ReferrerStore, image: Digest, key: VerifyingKey) -> bool:
    """Whether one of the signatures of an image is that key's."""
    found = _signatures(store, _entries(store, image_signature.signature_tag(image)))
    return any(signature.verified_by(key, image) for _, signature in found)


def sign_image(store: ReferrerStore, image: Digest, reference: str, key: KeyPair) -> None:
    """Sign an image, unless it is signed by that key under that name.

    Args:
        store: Where the image is.
        image: Its digest.
        reference: Its repository, for people.
        key: Signs.

    Raises:
        ServiceError: As `KeyPair.sign`, or the registry.
    """
    tag = image_signature.signature_tag(image)
    entries = _entries(store, tag)
    ours = [(entry, each) for entry, each in _signatures(store, entries) if each.verified_by(key, image)]
    payload = image_signature.document(image, reference)
    if any(each.payload == payload for _, each in ours):
        return
    kept = _without(entries, [entry for entry, _ in ours])
    _put(store, tag, image_signature.to_manifest([image_signature.sign(image, reference, key)], kept))


def seal(
    store: ReferrerStore, image: Digest, statements: Sequence[Statement], key: KeyPair
) -> tuple[tuple[str, Envelope], ...]:
    """Sign statements about an image, and put them where cosign looks; return predicate types and envelopes.

    What the key has signed before is not signed again.

    Raises:
        ServiceError: As `KeyPair.sign`, or the registry.
    """
    tag = envelope.attestations_tag(image)
    entries = _entries(store, tag)
    kinds = {each.predicate_type for each in statements}
    ours = [(entry, each) for entry, each in _envelopes(store, entries, kinds) if each.verified_by(key)]
    signed = {(each.payload_type, each.payload): each for _, each in ours}
    made = []
    for each in statements:
        content = each.to_bytes()
        before = signed.get((statement.MEDIA_TYPE, content))
        made.append((each.predicate_type, before or envelope.sign(statement.MEDIA_TYPE, content, key)))
    _put(store, tag, envelope.to_manifest(made, _without(entries, [entry for entry, _ in ours])))
    return tuple(made)


def _entries(store: ReferrerStore, tag: str) -> tuple[_Entry, ...]:
    manifest = store.tagged(tag)
    return () if manifest is None else entries_of(manifest)


def _without(entries: Sequence[_Entry], gone: Sequence[_Entry]) -> list[_Entry]:
    return [each for each in entries if not any(each is other for other in gone)]


def _put(store: ReferrerStore, tag: str, made: TaggedManifest) -> None:
    if store.tagged(tag) != made.manifest:
        store.put_tagged(tag, made.manifest, made.blobs)


def _signatures(store: ReferrerStore, entries: Sequence[_Entry]) -> Iterator[tuple[_Entry, ImageSignature]]:
    """Read the signatures of a tag; what is none is passed over: it is not ours."""
    for entry in entries:
        with suppress(ValueError, InputError):
            descriptor, signature = image_signature.signature_of(entry)
            yield entry, ImageSignature(payload=store.blob(descriptor), signature=signature)


def _envelopes(
    store: ReferrerStore, entries: Sequence[_Entry], kinds: set[str]
) -> Iterator[tuple[_Entry, Envelope]]:
    """Read the envelopes of a tag that have statements of some kinds; what is none is passed over."""
    for entry in entries:
        with suppress(ValueError, InputError):
            descriptor = Descriptor.from_dict(entry)
            if descriptor.media_type == envelope.MEDIA_TYPE and envelope.kind_of(descriptor) in kinds:
                yield entry, Envelope.from_bytes(store.blob(descriptor))
