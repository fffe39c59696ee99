"""What is known of an image that was laid on another base: what the old one holds, and where its model came from.

An environment that moves unchanged has the packages that the old image's bill of materials lists; those of the
operating system are the new base's.
"""

from __future__ import annotations

from mlflow_dbimage import attestation, model_reference
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import InputError, ServiceError, VerificationError
from mlflow_dbimage.evidence.bill_of_materials import Package, read_packages
from mlflow_dbimage.evidence.signing_key import Verifier
from mlflow_dbimage.model_reference import ModelOrigin, ModelStore
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.referrer_store import ReferrerStore


def must_be_signed(name: str, image: Digest, store: ReferrerStore | None, key: Verifier | None) -> None:
    """Refuse to sign anew, on another base, what the key has not signed: anybody may have put it there.

    Args:
        name: Of the deployment.
        image: Its digest.
        store: What is kept beside it; where nothing is, nothing is signed.
        key: Is to sign the result; None where nothing is.

    Raises:
        VerificationError: `not-trusted`.
    """
    if key is not None and store is not None and not attestation.is_signed(store, image, key):
        raise VerificationError(
            "not-trusted",
            f"the image of `{name}` is not signed by the key that is to sign it on its new base",
            hint="build it again with the key, or sign the image with it, or leave the result unsigned",
        )


def packages_of(store: ReferrerStore, image: Digest, key: Verifier | None) -> tuple[Package, ...] | None:
    """Return what an image holds besides its operating system, by its bill of materials; None without one.

    With a key only a bill counts that it has signed: what is signed anew must not come from just anybody.
    """
    try:
        listed = read_packages(attestation.bill(store, image, key=key))
    except InputError as error:
        if error.code != "no-evidence":
            raise
        return None
    except ValueError:
        return None
    return tuple(each for each in listed if each.manager != "system")


def origin_of(record: ImageRecord, store: ModelStore) -> ModelOrigin:
    """Ask the model registry where a model's code came from; what it does not know now is left out."""
    if not record.model_uri.startswith(("models:", "runs:")):
        return ModelOrigin()
    try:
        return store.origin(model_reference.pin(model_reference.parse(record.model_uri), store))
    except (InputError, ServiceError):
        return ModelOrigin()
