"""Trust is judged of one image, whatever its name means a moment later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from mlflow_dbimage import image_evidence, image_trust
from mlflow_dbimage.destinations.deployment import Deployment, TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.evidence.advisories import Severity, Vulnerability
from mlflow_dbimage.evidence.bill_of_materials import Package, pip_purl
from mlflow_dbimage.image_evidence import Place, ProvenImage
from mlflow_dbimage.image_trust import TrustTools
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.trust_policy import TrustPolicy
from mlflow_dbimage.verification import judge
from oci_samples import small_image
from score_images import record

QUIET = SilentProgress()


class Moving(LayoutDestination):
    """A destination where somebody deploys a sound image as soon as anybody has looked."""

    folder: Path
    """For images."""

    def deployment(self, name: str) -> Deployment | None:
        found = super().deployment(name)
        self.deploy(name, "sound")
        return found

    def deploy(self, name: str, package: str) -> None:
        image = small_image(self.folder / package, seed=package)
        self.write(name, image, QUIET)
        proven = ProvenImage(
            image=image,
            record=record(base_layers=1),
            report=judge("none"),
            packages=lambda: (Package(manager="pip", name=package, version="1", purl=pip_purl(package, "1")),),
            origin=ModelOrigin,
        )
        image_evidence.attach(proven, Place(name=name, store=self.beside(name)), "cyclonedx", None, QUIET)
        self.set_name(name, image, record(base_layers=1))


def find(packages: Sequence[Package]) -> tuple[Vulnerability, ...]:
    return tuple(
        Vulnerability(
            package=each, advisory="GHSA-1", aliases=(), severity=Severity.HIGH, summary="bad", fixed_in=()
        )
        for each in packages
        if each.name == "toy"
    )


def test_what_is_scanned_is_what_was_found_first(tmp_path: Path) -> None:
    destination = Moving(tmp_path / "images", TagScheme(named=True))
    destination.folder = tmp_path
    destination.deploy("churn", "toy")
    tools = TrustTools(
        destination=destination, catalogue=Catalogue.load(), key=None, find=find, today=date(2026, 1, 1)
    )
    found = image_trust.verify("churn", TrustPolicy(vulnerabilities=Severity.HIGH), tools)
    assert [each.met for each in found.trust.demands] == [False]
    assert found.digest == str(small_image(tmp_path / "again", seed="toy").digest)
    again = image_trust.verify("churn", TrustPolicy(vulnerabilities=Severity.HIGH), tools)
    assert [each.met for each in again.trust.demands] == [True]
