"""The verdict on an image: what was checked, how, with which outcome, and in one line why it failed if it did."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlflow_dbimage.check_report import CheckReport, ImportTime
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.expected_output import ExpectedOutput
from mlflow_dbimage.model_checks import Check, ModelEvidence, Outcome, check_model
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import canonical_json
from mlflow_dbimage.scoring.closeness import TOLERANCES

#: Where the model ran: in a container of an engine; in the image's own file system under a user namespace; in the
#: image's unpacked environment on this machine; or it did not, and only files were looked at, or nothing.
How = Literal["engine", "namespace", "packed", "static", "none"]

#: in-toto attestation framework, `spec/predicates/test-result.md`.
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
#: The field of the predicate that has the whole report; readers ignore fields that they do not know.
REPORT_FIELD = "https://dbimage.dev/verification-report/v1"
_VERSION = 1
_SLOW = 1.0
_WORST = 3
_WORDS: dict[How, str] = {
    "engine": "in a container of an engine",
    "namespace": "in its own file system, in a user namespace",
    "packed": "in its unpacked environment, on this machine's system",
    "static": "by its files alone",
    "none": "not at all",
}
_ORDER: tuple[Outcome, ...] = ("failed", "warned", "passed", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What was checked of one image."""

    how: How
    checks: tuple[Check, ...]
    load_seconds: float | None = None
    predict_seconds: float | None = None
    peak_memory: int | None = None
    """Bytes."""
    loaded_size: int | None = None
    """Bytes of all modules and libraries that the model loaded."""
    slow_imports: tuple[ImportTime, ...] = ()
    """Packages that took more than a second by themselves to import, or else the slowest three."""

    @property
    def outcome(self) -> Outcome:
        """The worst of all checks."""
        return next((each for each in _ORDER if any(check.outcome == each for check in self.checks)), "skipped")

    @property
    def cause(self) -> str | None:
        """Why it failed, in one line: the first check that did."""
        return next((check.detail for check in self.checks if check.outcome == "failed"), None)

    @property
    def proven(self) -> bool:
        """Whether the model was loaded in the image, and nothing failed."""
        loaded = any(check.name == "load" and check.outcome == "passed" for check in self.checks)
        return loaded and self.cause is None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "version": _VERSION,
            "how": self.how,
            "outcome": self.outcome,
            "cause": self.cause,
            "proven": self.proven,
            "checks": [
                {"name": each.name, "outcome": each.outcome, "detail": each.detail} for each in self.checks
            ],
            "load_seconds": self.load_seconds,
            "predict_seconds": self.predict_seconds,
            "peak_memory": self.peak_memory,
            "loaded_size": self.loaded_size,
            "slow_imports": [
                {"package": each.package, "seconds": each.seconds, "own_seconds": each.own_seconds}
                for each in self.slow_imports
            ],
        }

    def to_statement(self, name: str, image: Digest) -> Statement:
        """State the result of an image, as an in-toto test result.

        Args:
            name: What the image is called; nothing depends on it.
            image: Digest of its manifest.
        """
        configuration = {"how": self.how, "tolerances": {name: list(pair) for name, pair in TOLERANCES.items()}}
        return Statement(
            subject_name=name,
            subject=image,
            predicate_type=PREDICATE_TYPE,
            predicate={
                "result": {"failed": "FAILED", "warned": "WARNED"}.get(self.outcome, "PASSED"),
                "configuration": [
                    {
                        "name": "dbimage-verification",
                        "mediaType": "application/json",
                        "content": base64.b64encode(canonical_json(configuration)).decode(),
                    }
                ],
                "passedTests": self._named("passed"),
                "warnedTests": self._named("warned"),
                "failedTests": self._named("failed"),
                REPORT_FIELD: self.to_dict(),
            },
        )

    def _named(self, outcome: Outcome) -> list[str]:
        return [check.name for check in self.checks if check.outcome == outcome]

    def __str__(self) -> str:
        """Write the report for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"verified {_WORDS[self.how]}: {self.outcome}"
        width = max((len(check.name) for check in self.checks), default=0)
        for check in self.checks:
            yield f"  {check.outcome:8}{check.name:{width}}  {check.detail}".rstrip()
        measured = [
            f"{label} {value:,.1f} {unit}"
            for label, value, unit in (
                ("loading", self.load_seconds, "s"),
                ("predicting", self.predict_seconds, "s"),
                ("memory", _megabytes(self.peak_memory), "MB"),
                ("loaded files", _megabytes(self.loaded_size), "MB"),
            )
            if value is not None
        ]
        if measured:
            yield "  " + ", ".join(measured)
        if self.slow_imports:
            listed = ", ".join(f"{each.package} {each.own_seconds:.1f} s" for each in self.slow_imports)
            yield f"  slowest imports: {listed}"
        if self.cause is not None:
            yield f"cause: {self.cause}"


def judge(
    how: How,
    *,
    found: CheckReport | None = None,
    reference: CheckReport | None = None,
    static: Sequence[Check] = (),
    expected: ExpectedOutput | None = None,
    again: Callable[[], CheckReport | None] | None = None,
    died: str | None = None,
) -> VerificationReport:
    """Judge an image.

    Args:
        how: Where its model ran, if it did.
        found: What its self-check said; None where it did not run, or died.
        reference: What the same check said in the packed environment.
        static: What was seen in its files.
        expected: What the model should predict, where somebody said so.
        again: Makes a second reference, if need be: see `ModelEvidence`.
        died: Why the self-check ran and said nothing, such as `it was killed by signal 9`.
    """
    checks = list(static)
    if died is not None:
        checks.append(Check(name="load", outcome="failed", detail=f"the model's check did not end: {died}"))
    if found is None:
        return VerificationReport(how=how, checks=tuple(checks))
    evidence = ModelEvidence(found=found, reference=reference, expected=expected, again=again)
    return VerificationReport(
        how=how,
        checks=(*checks, *check_model(evidence)),
        load_seconds=found.load_seconds,
        predict_seconds=found.predict_seconds,
        peak_memory=found.peak_memory,
        loaded_size=found.loaded_size,
        slow_imports=_slow(found.imports),
    )


def _slow(imports: Sequence[ImportTime]) -> tuple[ImportTime, ...]:
    order = sorted(imports, key=lambda each: -each.own_seconds)
    return tuple(each for each in order if each.own_seconds > _SLOW) or tuple(order[:_WORST])


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6
