"""A scan of an image: the known vulnerabilities of what its bill of materials lists, against a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage import attestation
from mlflow_dbimage.destinations.deployment import Deployment, Destination
from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.evidence.advisories import Severity, Vulnerability
from mlflow_dbimage.evidence.bill_of_materials import Package, read_packages
from mlflow_dbimage.evidence.signing_key import Verifier
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.referrer_store import ReferrerStore

Finder = Callable[[Sequence[Package]], tuple[Vulnerability, ...]]
"""Finds which packages advisories are about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScan:
    """What was found."""

    name: str
    digest: str
    packages: int
    """That were looked for."""
    vulnerabilities: tuple[Vulnerability, ...]
    """Worst first."""
    threshold: Severity | None
    """From which one fails; None where none does."""

    @property
    def failing(self) -> tuple[Vulnerability, ...]:
        """Those that reach the threshold; one that nobody has rated does."""
        if self.threshold is None:
            return ()
        return tuple(each for each in self.vulnerabilities if each.severity >= self.threshold)

    @property
    def error(self) -> VerificationError | None:
        """What ends a command that was told to fail."""
        if not self.failing:
            return None
        assert self.threshold is not None, "else nothing fails"
        worst = self.failing[0]
        return VerificationError(
            "vulnerable",
            f"`{self.name}` has {len(self.failing)} vulnerabilities of severity {self.threshold.name.lower()} or"
            f" worse, such as {worst.advisory} in {worst.package.name} {worst.package.version}",
            hint="log the model with versions that have them no more, or rebase it on a newer base",
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "name": self.name,
            "digest": self.digest,
            "packages": self.packages,
            "threshold": None if self.threshold is None else self.threshold.name.lower(),
            "vulnerabilities": [
                {
                    "package": each.package.name,
                    "version": each.package.version,
                    "manager": each.package.manager,
                    "purl": each.package.purl,
                    "advisory": each.advisory,
                    "aliases": list(each.aliases),
                    "severity": each.severity.name.lower(),
                    "summary": each.summary,
                    "fixed_in": list(each.fixed_in),
                }
                for each in self.vulnerabilities
            ],
        }


def scan(
    name: str,
    destination: Destination,
    find: Finder,
    *,
    threshold: Severity | None = None,
    key: Verifier | None = None,
) -> ImageScan:
    """Hold what a deployed image has against advisories.

    Args:
        name: Of the deployment.
        destination: Where it is.
        find: Finds vulnerable packages.
        threshold: From which one fails; None where none does.
        key: Who must have signed the provenance that names the bill of materials; None takes any bill.

    Raises:
        InputError: `not-deployed`; `no-evidence`, the image has no such bill, or the medium keeps none.
        ServiceError: As the registry, or the source of the advisories.
    """
    deployment = destination.deployment(name)
    store = destination.beside(name)
    if deployment is None:
        raise InputError(
            "not-deployed", f"no deployment is named `{name}`", hint="`dbimage list` shows those that are"
        )
    if store is None:
        raise attestation.nothing("bill of materials", name)
    return scan_deployment(deployment, store, find, threshold=threshold, key=key)


def scan_deployment(
    deployment: Deployment,
    store: ReferrerStore,
    find: Finder,
    *,
    threshold: Severity | None,
    key: Verifier | None,
) -> ImageScan:
    """Hold an image that was found against advisories, whatever its name means by now; else as `scan`."""
    bill = attestation.bill(store, Digest.parse(deployment.digest), key=key)
    packages = _packages(bill, deployment.name)
    return ImageScan(
        name=deployment.name,
        digest=deployment.digest,
        packages=len(packages),
        vulnerabilities=find(packages),
        threshold=threshold,
    )


def _packages(bill: bytes, name: str) -> tuple[Package, ...]:
    try:
        return read_packages(bill)
    except ValueError as error:
        raise InputError("no-evidence", f"the bill of materials of `{name}` cannot be read: {error}") from error
