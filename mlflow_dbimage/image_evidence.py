"""The evidence of one image: what is in it, how it was made, and what its verification found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mlflow_dbimage import __version__, attestation
from mlflow_dbimage.attestation import Evidence
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.evidence.bill_of_materials import (
    CYCLONEDX_TYPE,
    SPDX_TYPE,
    Contents,
    Package,
    conda_purl,
    cyclonedx,
    pip_purl,
    spdx,
)
from mlflow_dbimage.evidence.signing_key import Signer
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.package_licences import Licences
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.provenance import provenance
from mlflow_dbimage.verification import VerificationReport

#: Forms of the bill of materials, by what the configuration calls them.
FORMS: Mapping[str, tuple[str, ...]] = {
    "cyclonedx": (CYCLONEDX_TYPE,),
    "spdx": (CYCLONEDX_TYPE, SPDX_TYPE),
    "none": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What is in an image besides the model."""

    system: tuple[Package, ...]
    """Packages of the base's operating system."""
    locked: LockedEnv
    licences: Licences
    in_base: Mapping[str, str]
    """Distributions of the base's own Python that the model uses, by name and version."""

    def packages(self) -> tuple[Package, ...]:
        """List them all; what the environment brings hides what the base has of the same name."""
        own = (*self._conda(), *self._wheels())
        names = {each.name for each in own if each.manager == "pip"}
        theirs = (
            Package(manager="pip", name=name, version=version, purl=pip_purl(name, version))
            for name, version in self.in_base.items()
            if name not in names
        )
        return (*self.system, *own, *theirs)

    def _conda(self) -> Iterable[Package]:
        for each in self.locked.conda:
            yield Package(
                manager="conda",
                name=each.name,
                version=each.version,
                purl=conda_purl(
                    each.name, each.version, build=each.build, channel=each.channel, subdir=each.subdir
                ),
                sha256=each.sha256,
                licence=self.licences.get(("conda", each.name)),
            )

    def _wheels(self) -> Iterable[Package]:
        for each in self.locked.wheels:
            yield Package(
                manager="pip",
                name=each.name,
                version=each.version,
                purl=pip_purl(each.name, each.version),
                sha256=each.sha256,
                licence=self.licences.get(("pip", each.name)),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenImage:
    """An image, what is known of it, and how it was proven."""

    image: Image
    record: ImageRecord
    """What it is made from."""
    report: VerificationReport
    packages: Callable[[], tuple[Package, ...] | None]
    """Lists what is in it besides the model, as `Inside.packages`; None where the image that it is made from had
    no list."""
    origin: Callable[[], ModelOrigin]
    """Asks where the model's code came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an image is."""

    name: str
    """Of its deployment."""
    store: ReferrerStore | None
    """What is kept beside it; None where the medium keeps nothing."""


def evidence_of(proven: ProvenImage, *, reference: str, forms: str) -> Evidence:
    """Gather the evidence of an image.

    Args:
        proven: The image.
        reference: How people call its repository.
        forms: Of the bill of materials, a key of `FORMS`.
    """
    image, report, packages = proven.image, proven.report, proven.packages()
    bills = () if packages is None else _bills(image, proven.record, packages, forms)
    made = provenance(
        proven.record,
        image.digest,
        reference,
        proven.origin(),
        __version__,
        bills=[(form, Digest.of(data)) for form, data in bills],
    )
    found = () if report.how == "none" else (report.to_statement(reference, image.digest),)
    return Evidence(
        image=image.descriptor,
        reference=reference,
        bills=bills,
        statements=(made, *found),
    )


def attach(
    proven: ProvenImage, place: Place, forms: str, key: Signer | None, progress: Progress
) -> tuple[str, ...]:
    """Attach contents, provenance and report to an image, where its destination keeps such; say what could not be.

    Args:
        proven: The image.
        place: Where it is.
        forms: Of the bill of materials, a key of `FORMS`.
        key: Signs; None where nothing is signed.
        progress: Where the step is reported.

    Raises:
        ServiceError: As `attestation.attach`.
    """
    if place.store is None:
        return () if key is None else ("nothing is signed: the destination keeps nothing beside its images",)
    with progress.step("attaching its contents and provenance"):
        evidence = evidence_of(proven, reference=place.store.place or place.name, forms=forms)
        lacking = forms != "none" and not evidence.bills
        old = "none" if key is None else "none that the key has signed"
        notes = (f"no bill of materials is attached: the image had {old} on its old base",) if lacking else ()
        return (*notes, *attestation.attach_if_taken(evidence, place.store, key))


def _bills(
    image: Image, record: ImageRecord, packages: tuple[Package, ...], forms: str
) -> tuple[tuple[str, bytes], ...]:
    contents = Contents(
        model_name=record.model_name,
        model_version=record.model_version,
        model_uri=record.model_uri,
        model_digest=record.model_digest,
        image=image.digest,
        packages=packages,
    )
    writers = {CYCLONEDX_TYPE: cyclonedx, SPDX_TYPE: spdx}
    return tuple((form, writers[form](contents, __version__)) for form in FORMS[forms])
