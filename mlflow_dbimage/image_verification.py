"""Whether an image that exists is right: clusters would take it, and the model of one of ours runs in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlflow_dbimage import static_verification
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.expected_output import ExpectedOutput
from mlflow_dbimage.image_check import Mode
from mlflow_dbimage.image_proof import Candidate, expected_by, prove
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.static_verification import StaticReport, VerificationTools
from mlflow_dbimage.verification import VerificationReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be verified."""

    name: str
    """Where the image is, as base images are named, or the name of a deployment."""
    runtime: str | None
    """Key of the runtime of the clusters; None for the one that an image of ours was made for."""
    mode: Mode
    """How far an image of ours is proven."""
    expected: ExpectedOutput | None
    """What its model should predict for its example; None for what it brings along, if it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVerification:
    """What was found."""

    image: str
    """As it was named."""
    digest: str
    contract: StaticReport | None
    """None of an image of ours that was made for no runtime, where none is named."""
    proof: VerificationReport | None
    """None of images that are not ours."""

    @property
    def error(self) -> VerificationError | None:
        """The error to end with; None where nothing is wrong."""
        if self.proof is not None and self.proof.cause is not None:
            return VerificationError("not-proven", f"`{self.image}` is not proven: {self.proof.cause}")
        return self.contract.error if self.contract is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        contract = self.contract.to_dict() if self.contract is not None else {}
        proof = self.proof.to_dict() if self.proof is not None else None
        return {"image": self.image, "digest": self.digest, **contract, "verification": proof}


def _proof(image: Image, record: ImageRecord, wish: Wish, tools: VerificationTools) -> VerificationReport:
    def expected() -> ExpectedOutput | None:
        return expected_by(wish.expected, image, record, tools.proof.cache)

    candidate = Candidate(image=image, record=record, expected=expected, contract=False)
    return prove(candidate, wish.mode, tools.proof)


def verify(wish: Wish, tools: VerificationTools) -> ImageVerification:
    """Verify an image.

    Raises:
        UsageError: `bad-location`; `bad-value`, the image is not ours and no runtime is named.
        InputError: The image does not exist or cannot be read; `not-deployed`; `bad-expected-output`.
        MatchError: `unknown-runtime`.
        ServiceError: A registry, engine or program failed.
    """
    image = static_verification.open_image(wish.name, tools)
    record = ImageRecord.from_labels(image.labels)
    proof = contract = None
    if record is not None:
        proof = _proof(image, record, wish, tools)
    if record is None or record.runtime is not None or wish.runtime is not None:
        contract = static_verification.verify(wish.name, image, wish.runtime, tools)
    return ImageVerification(image=wish.name, digest=str(image.digest), contract=contract, proof=proof)
