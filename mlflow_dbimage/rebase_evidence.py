"""The evidence of an image that was laid on another base: what the old one holds, and how this one was made.

An environment that moves unchanged has the packages that the old image's bill of materials lists; those of the
operating system are the new base's.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_dbimage import attestation, image_evidence, model_reference
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import InputError, ServiceError
from mlflow_dbimage.evidence.bill_of_materials import Package, read_packages
from mlflow_dbimage.evidence.signing_key import KeyPair
from mlflow_dbimage.model_reference import ModelOrigin, ModelStore
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.verification import VerificationReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An image on its new base, and what is known of it."""

    image: Image
    record: ImageRecord
    report: VerificationReport
    system: tuple[Package, ...]
    """Packages of the new base's operating system."""
    forms: str
    """Of the bill of materials, a key of `image_evidence.FORMS`."""


def packages_of(store: ReferrerStore, image: Digest) -> tuple[Package, ...] | None:
    """Return what an image holds besides its operating system, by its bill of materials; None without one."""
    try:
        listed = read_packages(attestation.bill(store, image))
    except InputError as error:
        if error.code != "no-evidence":
            raise
        return None
    except ValueError:
        return None
    return tuple(each for each in listed if each.manager != "system")


def attach(
    moved: Moved,
    packages: tuple[Package, ...] | None,
    store: ReferrerStore,
    *,
    place: str,
    origin: ModelOrigin,
    key: KeyPair | None,
) -> tuple[str, ...]:
    """Attach contents, provenance and report; say what could not be.

    Args:
        moved: The image.
        packages: As `packages_of` gives them of the old image.
        store: Where the image is.
        place: How people call its repository.
        origin: Where the model's code came from.
        key: That signs; None where nothing is signed.

    Raises:
        ServiceError: As `attestation.attach`.
    """
    evidence = image_evidence.evidence_of(
        moved.image,
        moved.record,
        None if packages is None else (*moved.system, *packages),
        origin,
        reference=place,
        forms=moved.forms,
        report=None if moved.report.how == "none" else moved.report.to_statement(place, moved.image.digest),
    )
    lacking = packages is None and moved.forms != "none"
    notes = ("no bill of materials is attached: the image had none on its old base",) if lacking else ()
    return (*notes, *attestation.attach_if_taken(evidence, store, key))


def origin_of(record: ImageRecord, store: ModelStore) -> ModelOrigin:
    """Ask the model registry where a model's code came from; what it does not know now is left out."""
    if not record.model_uri.startswith(("models:", "runs:")):
        return ModelOrigin()
    try:
        return store.origin(model_reference.pin(model_reference.parse(record.model_uri), store))
    except (InputError, ServiceError):
        return ModelOrigin()
