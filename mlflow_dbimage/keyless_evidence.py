"""Statements and signatures of an image that somebody has signed without a key: bundles that refer to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.evidence import bundle
from mlflow_dbimage.evidence.signing_key import Identity, Keyless
from mlflow_dbimage.evidence.statement import PREDICATE_ANNOTATION, Statement
from mlflow_dbimage.oci.artifact import TITLE, Artifact
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.referrer_store import ReferrerStore


def attach(
    image: Descriptor, reference: str, said: Iterable[tuple[Statement, str]], store: ReferrerStore, key: Keyless
) -> None:
    """Sign an image and statements about it, and attach the bundles; what the identity has signed stays as it is.

    Args:
        image: Of its manifest.
        reference: Its repository, for people.
        said: Statements, and what the file of each is called.
        store: Where the image is.
        key: Who signs.

    Raises:
        ServiceError: `signing-failed`, or the registry.
    """
    wanted = [*said, (bundle.signature_of(image.digest, reference), "signature.json")]
    there = set(_signed(store, image.digest, key))
    lacking = [each for each in wanted if each[0].to_bytes() not in there]
    if not lacking:
        return
    sealed = key.seal([each.to_bytes() for each, _ in lacking])
    bundles = [
        Artifact(
            artifact_type=bundle.MEDIA_TYPE,
            contents=((bundle.MEDIA_TYPE, data),),
            subject=image,
            annotations={TITLE: title, PREDICATE_ANNOTATION: kind, **bundle.annotations_of(kind)},
        )
        for (kind, title), data in zip(
            ((each.predicate_type, title) for each, title in lacking), sealed, strict=True
        )
    ]
    store.attach(image.digest, bundles)


def is_signed(store: ReferrerStore, image: Digest, identity: Identity) -> bool:
    """Whether an identity has signed an image."""
    for payload in _signed(store, image, identity):
        with suppress(ValueError):
            said = Statement.from_bytes(payload)
            if (said.subject, said.predicate_type) == (image, bundle.SIGNATURE_PREDICATE):
                return True
    return False


def _signed(store: ReferrerStore, image: Digest, identity: Identity) -> Iterator[bytes]:
    """Yield what an identity has signed of what refers to an image; what cannot be read is passed over."""
    for each in store.list(image):
        if each.artifact_type == bundle.MEDIA_TYPE:
            with suppress(InputError):
                payload = identity.opened(store.content(each))
                if payload is not None:
                    yield payload
