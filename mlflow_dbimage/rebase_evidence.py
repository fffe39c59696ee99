"""What is known of an image that was laid on another base: what the old one holds, and where its model came from.

An environment that moves unchanged has the packages that the old image's bill of materials lists; those of the
operating system are the new base's.
"""

from __future__ import annotations

from mlflow_dbimage import attestation, model_reference
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.evidence.bill_of_materials import Package, read_packages
from mlflow_dbimage.evidence.signing_key import VerifyingKey
from mlflow_dbimage.model_reference import ModelOrigin, ModelStore
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.referrer_store import ReferrerStore


def packages_of(store: ReferrerStore, image: Digest, key: VerifyingKey | None) -> tuple[Package, ...] | None:
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
