"""The end of every build: an image is written, proven and named, in this order.

A failure leaves no name on the image, and every name where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlflow_dbimage.destinations.deployment import Deployment, Destination, Written
from mlflow_dbimage.image_check import Mode
from mlflow_dbimage.image_proof import Candidate, Looked, ProofTools, looking, must_be_proven, prove
from mlflow_dbimage.verification import VerificationReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """An image that has its name."""

    deployment: Deployment
    written: Written
    report: VerificationReport
    notes: tuple[str, ...]
    """Of what was done before it was named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Where images go, and how they are proven."""

    destination: Destination
    mode: Mode
    tools: ProofTools

    def publish(
        self, name: str, candidate: Candidate, ready: Callable[[VerificationReport], tuple[str, ...]]
    ) -> Publication:
        """Write an image, prove it, and give it its name.

        Args:
            name: Of the deployment.
            candidate: The image.
            ready: Called before the name moves: raises if it may not, attaches what is to be found beside the
                image, and returns notes.

        Raises:
            VerificationError: `not-proven`, the image failed; no name was moved.
            DbimageError: What writing, proving and `ready` raise.
        """
        with looking(candidate, self.mode, self.tools) as looked:
            written = self.destination.write(name, candidate.image, self.tools.progress)
            return self._named(name, candidate, written, looked, ready)

    def _named(
        self,
        name: str,
        candidate: Candidate,
        written: Written,
        looked: Looked,
        ready: Callable[[VerificationReport], tuple[str, ...]],
    ) -> Publication:
        image = candidate.image
        try:
            if self.mode not in ("none", "static"):  # which take no longer than a registry gives all uploads
                self.destination.hold(name, image)
            report = prove(candidate, self.mode, self.tools, looked)
            must_be_proven(report)
            notes = ready(report)
            deployment = self.destination.set_name(name, image, candidate.record)
        finally:
            self.destination.release(name, image)
        return Publication(deployment=deployment, written=written, report=report, notes=notes)
