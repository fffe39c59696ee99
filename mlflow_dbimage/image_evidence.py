"""The evidence of one image: what is in it, how it was made, and what its verification found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_dbimage import __version__
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
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.package_licences import Licences
from mlflow_dbimage.provenance import provenance

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


def evidence_of(
    image: Image,
    record: ImageRecord,
    packages: tuple[Package, ...] | None,
    origin: ModelOrigin,
    *,
    reference: str,
    forms: str,
    report: Statement | None,
) -> Evidence:
    """Gather the evidence of an image.

    Args:
        image: The image.
        record: What it is made from.
        packages: What is in it besides the model, as `Inside.packages` lists it; None where that is not known, and
            there is no bill of materials.
        origin: Where the model's code came from.
        reference: How people call the image's repository.
        forms: Of the bill of materials, a key of `FORMS`.
        report: Of the verification; None where nothing was verified.
    """
    made = provenance(record, image.digest, reference, origin, __version__)
    return Evidence(
        image=image.descriptor,
        reference=reference,
        bills=() if packages is None else _bills(image, record, packages, forms),
        statements=(made,) if report is None else (made, report),
    )


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
