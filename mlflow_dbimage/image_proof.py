"""The proof of an image: its files are looked at, its own check is run in the best way, both are judged."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mlflow_dbimage import base_image, expected_output, image_check, reference_check
from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.check_report import CheckReport
from mlflow_dbimage.contract_check import check_contract
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.expected_output import ExpectedOutput
from mlflow_dbimage.failure_causes import cause_in_text
from mlflow_dbimage.image_check import Checker, CheckLimits, CheckRun, Mode
from mlflow_dbimage.layer_facts import facts_of
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.model_layers import MODEL_PATH
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.image_files import read_files
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.static_check import check_files
from mlflow_dbimage.verification import VerificationReport, judge
from mlflow_dbimage.whiteout_check import remains

#: Raised when what is read of a model's layers changes.
_FORMAT = 1
_MODEL_STARTS: Mapping[str, str] = {
    "engine": "running the model in a container",
    "namespace": "running the model in the image's root",
    "packed": "running the model from the image's layers",
}


#: Gives what was seen of an image's files.
Looked = Callable[[], tuple[Check, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofTools:
    """All effects of a proof, joined by `backends`."""

    checkers: tuple[Checker, ...]
    """All ways to run an image, the best first."""
    cache: BuildCache
    catalogue: Catalogue
    limits: CheckLimits
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An image that is to be proven."""

    image: Image
    record: ImageRecord
    expected: Callable[[], ExpectedOutput | None]
    """Reads what its model should predict for its example; None where nobody has said so."""
    built: bool = False
    """Whether this build made it, so that lock and model are what its record says; any image can say so."""
    contract: bool = True
    """Whether it is held against what clusters need; not where that is told apart."""

    @property
    def lock(self) -> Digest:
        """Of its environment."""
        return Digest.parse(self.record.lock_digest)

    @property
    def model(self) -> Digest:
        """Of its model's files."""
        return Digest.parse(self.record.model_digest)


@contextmanager
def looking(candidate: Candidate, mode: Mode, tools: ProofTools) -> Iterator[Looked]:
    """Begin to look at an image's files beside what the context does, and give what waits for the outcome.

    A context that fails ends it.
    """
    if mode == "none":
        yield tuple
        return
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(_files, candidate, tools, stop)
        try:
            yield found.result
        finally:
            stop.set()


def prove(candidate: Candidate, mode: Mode, tools: ProofTools, looked: Looked | None = None) -> VerificationReport:
    """Verify an image as far as is wanted; what is wrong with it is in the report.

    Args:
        candidate: The image.
        mode: How far.
        tools: The effects.
        looked: From `looking`, where that was begun before.

    Raises:
        ServiceError: What runs images failed; `engine-failed`, an engine is wanted and cannot run it.
    """
    if mode == "none":
        return judge("none")
    files = _files(candidate, tools, threading.Event()) if looked is None else looked()
    if mode == "static" or _has_broken_layers(files):
        return judge("static", static=files)
    ways = [each for each in tools.checkers if mode == "auto" or each.how == "engine"]
    choice = image_check.choose(candidate.image, ways)
    if mode == "engine":
        image_check.must_be_checked(choice)
    if choice.obstacles:
        files = (*files, Check(name="engine", outcome="skipped", detail="; ".join(choice.obstacles)))
    if choice.checker is None:
        return judge("static", static=files)
    return _ran(candidate, choice.checker, files, tools)


def expected_by(
    given: ExpectedOutput | None, image: Image, record: ImageRecord, cache: BuildCache
) -> ExpectedOutput | None:
    """Return what an image's model should predict: what somebody gave, else what the model in it brings along.

    Raises:
        InputError: `bad-expected-output`; `base-invalid`, its layer is damaged.
    """
    if given is not None:
        return given
    own = zip(record.layers, image.layers[record.base_layers :], strict=False)
    # Heavy files have layers of their own; the last one has all others.
    layers = tuple(layer for noted, layer in own if noted.kind == "model")[-1:]
    key = cache_key("expected-output", _FORMAT, *(str(each.descriptor.digest) for each in layers))
    kept = cache.record("expected-outputs", key)
    if kept is None:
        path = f"{MODEL_PATH[1:]}/{expected_output.IN_MODEL}"
        found = read_files(replace(image, layers=layers), [path]).get(path)
        kept = {"base64": None if found is None else base64.b64encode(found.data).decode()}
        cache.put_record("expected-outputs", key, kept)
    data = kept["base64"]
    return None if data is None else expected_output.brought_along(base64.b64decode(data))


def must_be_proven(report: VerificationReport) -> None:
    """Refuse an image that failed.

    Raises:
        VerificationError: `not-proven`, with the report as its detail `verification`.
    """
    if report.cause is not None:
        raise VerificationError(
            "not-proven",
            f"the image is not proven, and no name was moved to it: {report.cause}",
            hint="mend the cause and build again; `verify` may be set to prove less",
            details={"verification": report.to_dict()},
        )


def _files(candidate: Candidate, tools: ProofTools, stop: threading.Event) -> tuple[Check, ...]:
    image, record = candidate.image, candidate.record
    base, own = replace(image, layers=image.layers[: record.base_layers]), image.layers[record.base_layers :]
    with tools.progress.step("looking at the image's files") as step:
        step.total(sum(layer.descriptor.size for layer in own))
        facts = facts_of(own, tools.cache, stop, step.advance)
        found = check_files(
            image,
            record,
            facts,
            lambda: base_image.programs_of(base, tools.cache, tools.progress),
            lambda: remains(image, record, tools.cache),
        )
        if not candidate.contract or _has_broken_layers(found):
            return found
        contract = check_contract(image, record, facts, tools.catalogue, tools.cache)
    return found if contract is None else (*found, contract)


def _has_broken_layers(files: tuple[Check, ...]) -> bool:
    return any(each.name == "layers" and each.outcome == "failed" for each in files)


def _ran(
    candidate: Candidate, checker: Checker, files: tuple[Check, ...], tools: ProofTools
) -> VerificationReport:
    expected = candidate.expected()
    try:
        with tools.progress.step(_MODEL_STARTS[checker.how]):
            run = checker.check(candidate.image, tools.limits)
        found = _report_of(run.report)
        return judge(
            checker.how,
            found=found,
            reference=_reference(candidate, checker, tools) if found is not None else None,
            static=files,
            expected=expected,
            again=lambda: _report_of(_without_base(candidate, tools)),
            died=_death(run, tools.limits) if found is None else None,
        )
    except VerificationError as error:
        return judge(checker.how, static=(*files, Check(name="layers", outcome="failed", detail=error.message)))


def _reference(candidate: Candidate, checker: Checker, tools: ProofTools) -> CheckReport | None:
    """Return what the model said before its image was made; where nobody asked, what it says without the base."""
    kept = reference_check.find(tools.cache, candidate.lock, candidate.model)
    if kept is not None or checker.how == "packed":
        return kept
    document = _without_base(candidate, tools)
    made = _report_of(document)
    if candidate.built and made is not None and document is not None:
        reference_check.keep(tools.cache, candidate.lock, candidate.model, document)
    return made


def _without_base(candidate: Candidate, tools: ProofTools) -> Mapping[str, Any] | None:
    packed = next((each for each in tools.checkers if each.how == "packed"), None)
    if packed is None or packed.obstacle(candidate.image) is not None:
        return None
    with tools.progress.step("running the model without the base, to compare"):
        return packed.check(candidate.image, tools.limits).report


def _report_of(document: Mapping[str, Any] | None) -> CheckReport | None:
    try:
        return CheckReport.from_dict(document)
    except ValueError:
        return None


def _death(run: CheckRun, limits: CheckLimits) -> str:
    """Say in one line why a check ended without a report."""
    if run.stopped_by == "time":
        return f"it took longer than {limits.seconds:,.0f} s"
    if run.stopped_by == "memory":
        return f"it needed more memory than {limits.memory / 1e9:,.1f} GB"
    lines = [line for line in run.messages.splitlines() if line.strip()]
    known = next((cause for line in reversed(lines) if (cause := cause_in_text(line)) is not None), None)
    if known is not None:
        return known
    said = f": {lines[-1].strip()[:300]}" if lines else ""
    signal = _signal(run.exit_code)
    return f"it was killed by signal {signal}{said}" if signal else f"it ended with {run.exit_code}{said}"


def _signal(exit_code: int) -> int | None:
    """Return the signal that ended a program, as the kernel or a shell tells it."""
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if exit_code > 128 else None
