"""What is checked of a model that ran in its image, each with its outcome: pure functions over two self-checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mlflow_dbimage.check_report import MADE_EXAMPLE, CheckReport
from mlflow_dbimage.expected_output import ExpectedOutput
from mlflow_dbimage.failure_causes import cause_in_text, cause_of, known_cause, needs_network
from mlflow_dbimage.prediction_comparison import Difference, compare, compare_expected

Outcome = Literal["passed", "warned", "failed", "skipped"]

#: A cluster brings it; images for clusters have none.
_OF_THE_CLUSTER = frozenset({"pyspark"})
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked."""

    name: str
    outcome: Outcome
    detail: str = ""
    """One line; of a failed check the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvidence:
    """All that is known of one model in one image."""

    found: CheckReport
    """Of the image."""
    reference: CheckReport | None
    """Of the packed environment, before the image was laid out."""
    expected: ExpectedOutput | None
    again: Callable[[], CheckReport | None] | None
    """Makes a second reference, in another process with another hash seed: it is asked for only where predictions
    differ, to tell a random model from a broken image."""


def check_model(evidence: ModelEvidence) -> Iterator[Check]:
    """Check a model, what is nearest to the cause of a failure first."""
    yield _versions(evidence)
    yield _load(evidence)
    if not _loaded(evidence.found):
        return
    yield _requirements(evidence)
    yield _predict(evidence)
    if evidence.found.predictions is not None:
        yield from _predictions(evidence)
    yield from _attempts(evidence.found)


def _passed(name: str, detail: str = "") -> Check:
    return Check(name=name, outcome="passed", detail=detail)


def _failed(name: str, detail: str) -> Check:
    return Check(name=name, outcome="failed", detail=detail)


def _warned(name: str, detail: str) -> Check:
    return Check(name=name, outcome="warned", detail=detail)


def _skipped(name: str, detail: str) -> Check:
    return Check(name=name, outcome="skipped", detail=detail)


def _loaded(report: CheckReport) -> bool:
    return report.error is None or report.error.stage not in ("import", "load")


def _versions(evidence: ModelEvidence) -> Check:
    """Hold Python and every distribution against those with which the reference was made."""
    found, reference = evidence.found, evidence.reference
    if reference is None:
        return _skipped("versions", "no reference was made")
    differences = [] if found.python == reference.python else [f"Python {found.python}, not {reference.python}"]
    for name, version in sorted(reference.distributions.items()):
        has = found.distributions.get(name)
        if has != version:
            differences.append(f"`{name}` {has or 'is missing'}, not {version}")
    if differences:
        return _failed("versions", f"version mismatch: the image has {_listed(differences)}")
    return _passed("versions", f"Python {found.python} and {len(reference.distributions)} distributions")


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return "; ".join(items[:_NAMED]) + more


def _load(evidence: ModelEvidence) -> Check:
    found = evidence.found
    if found.error is None or _loaded(found):
        return _passed("load")
    before = evidence.reference is not None and not _loaded(evidence.reference)
    return _failed("load", cause_of(found.error, found) + (", and so before the image was made" if before else ""))


def _requirements(evidence: ModelEvidence) -> Check:
    found, reference = evidence.found, evidence.reference
    wrong = {name: why for name, why in found.modules.items() if why is not None}
    known = reference.modules if reference is not None and found.predictions is not None else {}
    excused = [name for name, why in wrong.items() if name in _OF_THE_CLUSTER or known.get(name) == why]
    broken = [f"`{name}`: {cause_in_text(why) or why}" for name, why in wrong.items() if name not in excused]
    if broken:
        return _failed("requirements", f"a requirement cannot be imported: {_listed(broken)}")
    if excused:
        reasons = [
            f"`{name}`: " + ("the cluster brings it" if name in _OF_THE_CLUSTER else str(wrong[name]))
            for name in excused
        ]
        return _warned("requirements", f"the model predicts, but cannot import {_listed(reasons)}")
    return _passed("requirements", f"{len(found.modules)} can be imported")


def _predict(evidence: ModelEvidence) -> Check:
    found, reference = evidence.found, evidence.reference
    made = found.example == MADE_EXAMPLE
    if found.error is not None:
        cause = known_cause(found.error, found)
        if made and cause is None and (reference is None or reference.predictions is None):
            return _warned("predict", f"no example, and rows made from the signature are refused: {found.error}")
        return _failed("predict", cause or cause_of(found.error, found))
    if found.predictions is None:
        return _skipped("predict", "the model has neither an example with rows nor a signature to make one from")
    rows = f"{found.predictions.row_count} rows"
    return _passed("predict", f"{rows} made from its signature" if made else f"{rows} of `{found.example}`")


def _predictions(evidence: ModelEvidence) -> Iterator[Check]:
    difference, random = _difference(evidence)
    if random is not None:
        yield _warned("repeatable", random)
    elif evidence.found.repeated is not None:
        yield _warned("repeatable", f"two calls in the image, and not before, gave {evidence.found.repeated}")
    else:
        yield _passed("repeatable", "two calls gave the same")
    yield _against_reference(evidence, difference, random)
    if evidence.expected is not None:
        yield _against_expected(evidence, evidence.expected, random)


def _difference(evidence: ModelEvidence) -> tuple[Difference | None, str | None]:
    """Return how image and reference differ, and how the model differs from itself before it is in an image."""
    found, reference = evidence.found, evidence.reference
    repeated = found.repeated if reference is None else reference.repeated
    random = None if repeated is None else f"the model is random: two calls gave {repeated}"
    if reference is None or reference.predictions is None or found.predictions is None:
        return None, random
    difference = compare(reference.predictions, found.predictions)
    if difference is None or random or found.network or evidence.again is None:
        return difference, random
    second = evidence.again()
    other = second.predictions if second is not None else None
    itself = compare(reference.predictions, other) if other is not None else None
    return difference, None if itself is None else f"the model is random: another process gave {itself}"


def _against_reference(evidence: ModelEvidence, difference: Difference | None, random: str | None) -> Check:
    reference = evidence.reference
    if reference is None:
        return _skipped("reference", "no reference was made")
    if reference.predictions is None:
        return _warned("reference", f"it did not predict before the image was made: {reference.error}")
    if difference is None:
        return _passed("reference", "the same as before the image was made")
    if random:
        return _warned("reference", f"not the same as before, as a random model does: {difference}")
    if evidence.found.network:
        return _failed("reference", f"{needs_network(evidence.found)}; different prediction: {difference}")
    return _failed("reference", f"different prediction: {difference}")


def _against_expected(evidence: ModelEvidence, expected: ExpectedOutput, random: str | None) -> Check:
    assert evidence.found.predictions is not None
    difference = compare_expected(expected, evidence.found.predictions)
    if difference is None:
        return _passed("expected", f"{expected.row_count} rows are as expected")
    if random:
        return _warned("expected", f"not as expected, as a random model does: {difference}")
    return _failed("expected", f"different from what is expected: {difference}")


def _attempts(found: CheckReport) -> Iterator[Check]:
    """Tell of what the model tried and went on without; where it could not, that is the cause of its failure."""
    for name, tried, did in (
        ("network", found.network, "it asked for"),
        ("own-files", found.writes, "it tried to write into its own directory:"),
    ):
        if tried:
            listed = ", ".join(f"`{each}`" for each in tried[:_NAMED])
            yield _warned(name, f"{did} {listed}, which was refused")
        elif found.watched:
            yield _passed(name)
        else:
            yield _skipped(name, f"Python {found.python} cannot watch it")
