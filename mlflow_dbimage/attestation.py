"""What is attached to an image to prove it, and how it is read back: bill of materials, statements, signatures.

All of it refers to the image's digest, and is attached before the image gets its name. Signed, a statement lies in
an envelope; the image's own signature and the envelopes also lie where cosign looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from mlflow_dbimage import cosign_tags, keyless_evidence, provenance, verification
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.evidence import bill_of_materials, bundle, envelope, statement
from mlflow_dbimage.evidence.envelope import Envelope
from mlflow_dbimage.evidence.signing_key import Identity, Keyless, Signer, Verifier
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.oci.artifact import TITLE, Artifact, Referrer
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.oci.registry_errors import RefusedError

Kind = Literal["sbom", "provenance", "report"]

_PREDICATES: dict[Kind, str] = {"provenance": provenance.PREDICATE_TYPE, "report": verification.PREDICATE_TYPE}
_TITLES: dict[str, str] = {
    bill_of_materials.CYCLONEDX_TYPE: "sbom.cdx.json",
    bill_of_materials.SPDX_TYPE: "sbom.spdx.json",
    provenance.PREDICATE_TYPE: "provenance.json",
    verification.PREDICATE_TYPE: "report.json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What there is to attach to an image."""

    image: Descriptor
    """Of its manifest."""
    reference: str
    """Its repository, as people call it."""
    bills: tuple[tuple[str, bytes], ...]
    """Media type and bytes of each bill of materials."""
    statements: tuple[Statement, ...]


def attach(evidence: Evidence, store: ReferrerStore, key: Signer | None) -> None:
    """Attach all of it; equal evidence attached again, by the same key, changes nothing.

    Raises:
        ServiceError: The registry or the service of the key failed.
    """
    made = [
        _artifact(evidence.image, media_type, bill, {TITLE: _TITLES[media_type]})
        for media_type, bill in evidence.bills
    ]
    if isinstance(key, Keyless):
        store.attach(evidence.image.digest, made)
        titled = [(each, _TITLES.get(each.predicate_type, "statement.json")) for each in evidence.statements]
        keyless_evidence.attach(evidence.image, evidence.reference, titled, store, key)
        return
    if key is None:
        said = [(each.predicate_type, statement.MEDIA_TYPE, each.to_bytes()) for each in evidence.statements]
    else:
        sealed = cosign_tags.seal(store, evidence.image.digest, evidence.statements, key)
        said = [(kind, envelope.MEDIA_TYPE, each.to_bytes()) for kind, each in sealed]
        cosign_tags.sign_image(store, evidence.image.digest, evidence.reference, key)
    for kind, media_type, content in said:
        annotations = {TITLE: _TITLES.get(kind, "statement.json"), statement.PREDICATE_ANNOTATION: kind}
        made.append(_artifact(evidence.image, media_type, content, annotations))
    store.attach(evidence.image.digest, made)


def attach_if_taken(evidence: Evidence, store: ReferrerStore, key: Signer | None) -> tuple[str, ...]:
    """Attach all of it; where nobody wants it signed, a registry that takes no artifacts is noted, no failure.

    Raises:
        ServiceError: As `attach`.
    """
    try:
        attach(evidence, store, key)
    except RefusedError as error:
        if key is not None:
            raise
        return (f"nothing is attached to the image: {error.message}",)
    return ()


def is_signed(store: ReferrerStore, image: Digest, key: Verifier) -> bool:
    """Whether a key, or an identity, has signed an image."""
    if isinstance(key, Identity):
        return keyless_evidence.is_signed(store, image, key)
    return cosign_tags.is_signed(store, image, key)


def bill(
    store: ReferrerStore,
    image: Digest,
    media_type: str = bill_of_materials.CYCLONEDX_TYPE,
    key: Verifier | None = None,
) -> bytes:
    """Read the bill of materials of an image.

    Args:
        store: Where the image is.
        image: Its digest.
        media_type: The form of the bill.
        key: Who must have signed the provenance that names it; None takes any.

    Raises:
        InputError: `no-evidence`, there is none, or none that such a provenance names.
    """
    listed = sorted(store.list(image), key=lambda each: str(each.digest))
    contents = _contents(store, [each for each in listed if each.artifact_type == media_type])
    if key is None:
        found = next(contents, None)
        wanted = "bill of materials"
    else:
        made = read_statements(store, image, "provenance", key)
        named = {digest for each in made for kind, digest in provenance.bills_of(each) if kind == media_type}
        found = next((each for each in contents if Digest.of(each) in named), None)
        wanted = "bill of materials that a provenance names which the key has signed"
    if found is None:
        raise nothing(wanted, image)
    return found


def read_statement(store: ReferrerStore, image: Digest, kind: Kind, key: Verifier | None = None) -> Statement:
    """Read a statement about an image: of several, the first that is signed.

    Args:
        store: Where the image is.
        image: Its digest.
        kind: `provenance` or `report`.
        key: Who must have signed it; None takes an unsigned one too.

    Raises:
        InputError: `no-evidence`, there is none, or none that the key signed.
    """
    found = read_statements(store, image, kind, key)
    if not found:
        raise nothing(kind if key is None else f"{kind} that is signed by the key", image)
    return found[0]


def read_statements(
    store: ReferrerStore, image: Digest, kind: Kind, key: Verifier | None = None
) -> tuple[Statement, ...]:
    """Read all statements of a kind about an image, as `read_statement` reads one; those that do not hold are not
    there."""
    wanted = _PREDICATES[kind]
    listed = [each for each in store.list(image) if each.annotations.get(statement.PREDICATE_ANNOTATION) == wanted]
    opened = (_opened(content, key) for content in _contents(store, _signed_first(listed)))
    return tuple(
        each for each in opened if each is not None and (each.subject, each.predicate_type) == (image, wanted)
    )


def _artifact(image: Descriptor, media_type: str, data: bytes, annotations: dict[str, str]) -> Artifact:
    return Artifact(
        artifact_type=media_type, contents=((media_type, data),), subject=image, annotations=annotations
    )


def _opened(content: bytes, key: Verifier | None) -> Statement | None:
    """Return the statement of an artifact, from its envelope where it has one; None where it does not hold."""
    try:
        if isinstance(key, Identity):
            payload = key.opened(content)
            return None if payload is None else Statement.from_bytes(payload)
        if bundle.is_bundle(content):
            return Statement.from_bytes(bundle.payload_of(content)) if key is None else None
        sealed = _sealed(content)
        if sealed is None:
            return Statement.from_bytes(content) if key is None else None
        if sealed.payload_type != statement.MEDIA_TYPE or not (key is None or sealed.verified_by(key)):
            return None
        return Statement.from_bytes(sealed.payload)
    except ValueError:
        return None


def _sealed(content: bytes) -> Envelope | None:
    try:
        return Envelope.from_bytes(content)
    except ValueError:
        return None


def _contents(store: ReferrerStore, referrers: Iterable[Referrer]) -> Iterator[bytes]:
    """Read artifacts; what anybody has attached and nobody can read hides nothing that others attached."""
    for each in referrers:
        with suppress(InputError):
            yield store.content(each)


def _signed_first(referrers: Sequence[Referrer]) -> Sequence[Referrer]:
    """Of two, the one in an envelope or bundle says more."""
    return sorted(referrers, key=lambda each: each.artifact_type not in (envelope.MEDIA_TYPE, bundle.MEDIA_TYPE))


def nothing(what: str, image: Digest | str) -> InputError:
    """Return the error of evidence that is not there."""
    return InputError(
        "no-evidence",
        f"the image {image} has no {what}",
        hint="build it again with this version; Docker engines and archives keep no evidence",
    )
