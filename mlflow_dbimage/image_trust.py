"""Whether an image is to be trusted: its signature, what is said of it, and a site's policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from mlflow_dbimage import attestation, image_scan
from mlflow_dbimage.destinations.deployment import Deployment, Destination
from mlflow_dbimage.errors import InputError, VerificationError
from mlflow_dbimage.evidence.signing_key import Verifier
from mlflow_dbimage.image_scan import Finder
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.trust_policy import Known, Trust, TrustPolicy, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustTools:
    """All that trust is judged by."""

    destination: Destination
    catalogue: Catalogue
    key: Verifier | None
    find: Finder | None
    """Finds vulnerable packages; None where nobody looks."""
    today: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTrust:
    """How an image stands to a policy."""

    name: str
    digest: str
    trust: Trust

    @property
    def error(self) -> VerificationError | None:
        """What ends a command where a demand is not met."""
        unmet = self.trust.unmet
        if not unmet:
            return None
        first = f"{unmet[0].name}: {unmet[0].detail}"
        return VerificationError(
            "not-trusted",
            f"`{self.name}` does not meet {len(unmet)} of {len(self.trust.demands)} demands; {first}",
            hint="build it again as the policy demands, or choose another image",
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"name": self.name, "digest": self.digest, "demands": self.trust.to_dict()}


def verify(name: str, policy: TrustPolicy, tools: TrustTools) -> ImageTrust:
    """Hold a deployed image against a policy.

    Raises:
        InputError: `not-deployed`; `no-evidence`, the destination keeps nothing beside its images.
        ServiceError: The registry, or the source of the advisories.
    """
    deployment, store = tools.destination.deployment(name), tools.destination.beside(name)
    if deployment is None:
        raise InputError(
            "not-deployed", f"no deployment is named `{name}`", hint="`dbimage list` shows those that are"
        )
    if store is None:
        raise attestation.nothing("signature", name)
    known = _known(deployment, store, tools)
    if policy.vulnerabilities is not None:
        known = _scanned(known, deployment, store, tools)
    return ImageTrust(name=name, digest=deployment.digest, trust=judge(policy, known))


def _known(deployment: Deployment, store: ReferrerStore, tools: TrustTools) -> Known:
    digest = Digest.parse(deployment.digest)
    record = deployment.record
    runtime = tools.catalogue.find(record.runtime) if record is not None and record.runtime else None
    return Known(
        record=record,
        signed=tools.key is not None and attestation.is_signed(store, digest, tools.key),
        provenance=next(iter(attestation.read_statements(store, digest, "provenance", tools.key)), None),
        reports=attestation.read_statements(store, digest, "report", tools.key),
        runtime=runtime,
        vulnerabilities=None,
        today=tools.today,
    )


def _scanned(known: Known, deployment: Deployment, store: ReferrerStore, tools: TrustTools) -> Known:
    """Look for vulnerabilities; a bill of materials that is missing, or not to be trusted, is a demand not met."""
    if tools.find is None:
        return known
    try:
        found = image_scan.scan_deployment(deployment, store, tools.find, threshold=None, key=tools.key)
    except InputError as error:
        if error.code != "no-evidence":
            raise
        return replace(known, not_scanned=error.message)
    return replace(known, vulnerabilities=found.vulnerabilities)
