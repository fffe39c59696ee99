"""Verdicts on self-checks that really ran: what each broken model is found to be, in one line."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from checked_models import (
    KeptChecks,
    check_of,
    check_without_library,
    checked_model,
    environment_with,
    self_check,
)
from mlflow_dbimage import expected_output
from mlflow_dbimage.check_report import CheckReport
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.verification import PREDICATE_TYPE, REPORT_FIELD, VerificationReport, judge
from scoring_roots import scoring_root
from toy_wheels import make_wheel

# A second process must agree with the first, or must not.
_DIFFER_BY_PROCESS = ("good", "random", "random-by-process", "by-hash")

IMAGE = Digest.of(b"image")


def report_of(data: dict[str, Any]) -> CheckReport:
    return CheckReport.from_dict(data)


def verdict(checks: KeptChecks, kind: str, reference: str | None = None, **more: Any) -> VerificationReport:
    """Judge a model whose reference is a run of another model; else of itself, where that matters another run."""
    run = 2 if reference is None and kind in _DIFFER_BY_PROCESS else 1
    before = report_of(checks(reference or kind, run=run))
    return judge("packed", found=report_of(checks(kind)), reference=before, **more)


def outcomes(report: VerificationReport) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


def test_a_sound_model_is_proven(checks: KeptChecks) -> None:
    report = verdict(checks, "good")
    assert set(outcomes(report).values()) == {"passed"}, str(report)
    assert list(outcomes(report)) == [
        *("versions", "load", "requirements", "predict", "repeatable", "reference", "network", "own-files"),
    ]
    assert (report.outcome, report.cause, report.proven) == ("passed", None, True)
    assert report.peak_memory is not None
    assert len(report.slow_imports) == 3 or all(each.own_seconds > 1 for each in report.slow_imports)


@pytest.mark.parametrize(
    ("kind", "check", "cause"),
    [
        ("network-at-load", "load", "the model needs the network: it asked for `features.example`"),
        ("network-at-predict", "predict", "the model needs the network: it asked for `192.0.2.7`"),
        ("own-directory", "predict", "the model writes to its own directory: `last.log`"),
        ("no-module", "load", "the module `a_module_that_is_nowhere` is missing"),
        ("other-version", "load", "version mismatch: `pandas` has no `ThatClassOfTomorrow`"),
        ("own-file-missing", "predict", "the model's file `weights.bin` is missing"),
        ("memory", "predict", "the model needs more memory than it had"),
        ("raises", "predict", "the model fails while predicting: KeyError: 'a value that it does not know'"),
        ("exits", "load", "the model does not load: SystemExit: no licence"),
    ],
)
def test_a_broken_model_is_caught_and_its_cause_is_one_line(
    kind: str, check: str, cause: str, checks: KeptChecks
) -> None:
    # Its reference is of a sound model: what is broken is broken in the image alone.
    report = verdict(checks, kind, "good")
    assert outcomes(report)[check] == "failed"
    assert report.cause == cause
    assert not report.proven
    assert str(report).splitlines()[-1] == f"cause: {cause}"


def test_a_model_that_never_loaded_says_so(checks: KeptChecks) -> None:
    report = verdict(checks, "no-module")
    assert report.cause == "the module `a_module_that_is_nowhere` is missing, and so before the image was made"
    assert [check.name for check in report.checks] == ["versions", "load"]


def test_a_different_prediction_is_named_with_its_row(checks: KeptChecks) -> None:
    report = verdict(checks, "other", "good")
    assert report.cause == "different prediction: row 1, column `half`: 0.49975012493753124 instead of 0.5"
    assert outcomes(report)["repeatable"] == "passed"


def test_a_random_model_is_told_of_and_not_failed(checks: KeptChecks) -> None:
    report = verdict(checks, "random")
    assert (report.outcome, report.proven) == ("warned", True)
    assert (outcomes(report)["repeatable"], outcomes(report)["reference"]) == ("warned", "warned")
    assert "the model is random: two calls gave row 1, column `prediction`: 0." in str(report)


@pytest.mark.parametrize("kind", ["random-by-process", "by-hash"])
def test_a_model_that_is_random_by_process_is_told_by_a_second_reference(kind: str, checks: KeptChecks) -> None:
    asked: list[str] = []

    def again() -> CheckReport:
        asked.append(kind)
        return report_of(checks(kind, run=3))

    report = verdict(checks, kind, again=again)
    assert (report.outcome, report.cause, asked) == ("warned", None, [kind]), str(report)
    assert "the model is random: another process gave row 1, column `prediction`" in str(report)
    assert verdict(checks, kind).cause is not None


def test_a_second_reference_is_not_made_without_need(checks: KeptChecks) -> None:
    def again() -> CheckReport:
        raise AssertionError

    assert verdict(checks, "good", again=again).proven
    assert verdict(checks, "random", again=again).proven


def test_a_model_that_differs_while_the_reference_repeats_is_broken(checks: KeptChecks) -> None:
    report = verdict(checks, "other", "good", again=lambda: report_of(checks("good", run=2)))
    assert report.cause is not None
    assert report.cause.startswith("different prediction")


def test_a_model_that_does_without_the_network_is_told_of(checks: KeptChecks) -> None:
    report = verdict(checks, "network-if-there-is")
    assert (report.outcome, report.proven) == ("warned", True)
    assert "it asked for `rates.example`, which was refused" in str(report)
    assert verdict(checks, "loopback").outcome == "passed"


def test_a_prediction_that_differs_for_want_of_the_network_says_so(checks: KeptChecks) -> None:
    found = checks("network-if-there-is")
    # What it gave where there was a network: the reference of a model that is the same but for that.
    reference = {**found, "predictions": {**found["predictions"], "rows": [[7.0], [8.0]]}, "network": []}
    report = judge("engine", found=report_of(found), reference=report_of(reference))
    assert report.cause == (
        "the model needs the network: it asked for `rates.example`; "
        "different prediction: row 1, column `prediction`: 1.0 instead of 7.0"
    )


def test_a_model_that_does_without_its_directory_is_told_of(checks: KeptChecks) -> None:
    report = verdict(checks, "own-directory-if-it-can")
    assert outcomes(report)["own-files"] == "warned"
    assert report.proven


def test_a_package_that_was_swapped_after_the_lock(tmp_path: Path) -> None:
    reports = []
    model = checked_model(tmp_path / "model", "by-wheel", requirements=("mlflow", "rates==1.0"))
    for version, factor in (("1.0", b"FACTOR = 2.0\n"), ("1.1", b"FACTOR = 2.5\n")):
        folder = tmp_path / version
        folder.mkdir()
        wheel = make_wheel(folder, "rates", version, files={"rates/__init__.py": factor})
        python = environment_with(folder / "env", wheel)
        reports.append(report_of(self_check(scoring_root(folder / "root", python, model))))
    report = judge("engine", found=reports[1], reference=reports[0])
    assert report.cause == "version mismatch: the image has `rates` 1.1, not 1.0"
    assert (outcomes(report)["reference"], outcomes(report)["requirements"]) == ("failed", "passed")
    assert "different prediction: row 1, column `prediction`: 2.5 instead of 2.0" in str(report)


def test_another_python(checks: KeptChecks) -> None:
    reference = {**checks("good"), "python": "3.10.4"}
    report = judge("engine", found=report_of(checks("good")), reference=report_of(reference))
    here = ".".join(map(str, sys.version_info[:3]))
    assert report.cause == f"version mismatch: the image has Python {here}, not 3.10.4"


@pytest.mark.root
def test_a_shared_library_that_is_missing_and_the_package_that_has_it(models, tmp_path: Path) -> None:
    model = models("lightgbm-price")
    (tmp_path / "before").mkdir()
    reference = report_of(check_of(model, tmp_path / "before"))
    found = report_of(check_without_library(model, tmp_path, "libgomp.so"))
    report = judge("namespace", found=found, reference=reference)
    cause = "the shared library `libgomp.so.1` is missing: Debian's package `libgomp1` has it"
    assert report.cause == cause
    assert judge("namespace", found=reference, reference=reference).proven
    # The model does not load; that its requirement cannot be imported has the same cause.
    assert f"`lightgbm`: {cause}" not in str(report)
    assert str(found.modules["lightgbm"]).endswith("libgomp.so.1: cannot open shared object file: No such file or directory")  # noqa: E501  # fmt: skip


def test_a_requirement_that_cannot_be_imported(tmp_path: Path) -> None:
    lines = ("mlflow", "absent==1.0", "pyspark")
    model = checked_model(tmp_path / "model", "good", requirements=lines)
    data = check_of(model, tmp_path)
    report = judge("packed", found=report_of(data))
    assert report.cause == "a requirement cannot be imported: `absent`: it is not installed"
    # Where it was so before, and the model predicts all the same, it is no fault of the image.
    before = judge("packed", found=report_of(data), reference=report_of(data))
    assert outcomes(before)["requirements"] == "warned"
    assert "`pyspark`: the cluster brings it" in str(before)
    assert before.proven


def test_a_model_without_example(tmp_path: Path) -> None:
    sound = checked_model(tmp_path / "sound" / "model", "good", example=None)
    report = judge("packed", found=report_of(check_of(sound, tmp_path / "sound")))
    assert "2 rows made from its signature" in str(report)
    assert (outcomes(report)["predict"], outcomes(report)["reference"]) == ("passed", "skipped")
    picky = checked_model(tmp_path / "picky" / "model", "raises", example=None)
    found = report_of(check_of(picky, tmp_path / "picky"))
    report = judge("packed", found=found, reference=found)
    assert (outcomes(report)["predict"], report.proven) == ("warned", True)
    silent = checked_model(tmp_path / "silent" / "model", "good", example=None, signature="")
    report = judge("packed", found=report_of(check_of(silent, tmp_path / "silent")))
    assert (outcomes(report)["predict"], report.proven) == ("skipped", True)


def test_made_rows_are_no_excuse_for_a_cause_that_is_known(tmp_path: Path) -> None:
    model = checked_model(tmp_path / "model", "network-at-predict", example=None)
    report = judge("packed", found=report_of(check_of(model, tmp_path)))
    assert report.cause == "the model needs the network: it asked for `192.0.2.7`"


def test_what_is_expected(checks: KeptChecks, tmp_path: Path) -> None:
    (tmp_path / "right.csv").write_text("half\n0.5\n-1.5\n")
    (tmp_path / "wrong.csv").write_text("half,sign\n0.5,+\n-1.5,-\n")
    right = verdict(checks, "good", expected=expected_output.read(tmp_path / "right.csv"))
    assert outcomes(right)["expected"] == "passed"
    wrong = verdict(checks, "good", expected=expected_output.read(tmp_path / "wrong.csv"))
    assert wrong.cause == 'different from what is expected: row 2, column `sign`: "+" instead of "-"'


def test_a_check_that_died_and_what_was_seen_in_files() -> None:
    seen = Check(name="digests", outcome="passed")
    died = judge("engine", static=[seen], died="it was killed by signal 9")
    assert died.cause == "the model's check did not end: it was killed by signal 9"
    assert not died.proven
    alone = judge("static", static=[seen])
    assert (alone.outcome, alone.cause, alone.proven) == ("passed", None, False)
    assert judge("none").outcome == "skipped"


def test_files_come_first_among_causes(checks: KeptChecks) -> None:
    seen = Check(name="digests", outcome="failed", detail="layer 3 lies")
    assert verdict(checks, "other", "good", static=[seen]).cause == "layer 3 lies"


def test_the_report_as_json_and_as_a_statement(checks: KeptChecks) -> None:
    report = verdict(checks, "random")
    data = json.loads(json.dumps(report.to_dict()))
    assert (data["version"], data["how"], data["outcome"], data["cause"]) == (1, "packed", "warned", None)
    statement = json.loads(report.to_statement("models/churn", IMAGE).to_bytes())
    assert statement["predicateType"] == PREDICATE_TYPE
    predicate = statement["predicate"]
    assert predicate["result"] == "WARNED"
    assert predicate["warnedTests"] == ["repeatable", "reference"]
    assert "load" in predicate["passedTests"]
    assert predicate["failedTests"] == []
    assert predicate[REPORT_FIELD] == data
    (configuration,) = predicate["configuration"]
    assert json.loads(base64.b64decode(configuration["content"]))["tolerances"]["float64"] == [1e-7, 1e-10]
    failed = verdict(checks, "other", "good").to_statement("x", IMAGE).predicate
    assert (failed["result"], failed["failedTests"]) == ("FAILED", ["reference"])


def test_the_report_for_people(checks: KeptChecks) -> None:
    lines = str(verdict(checks, "good")).splitlines()
    assert lines[0] == "verified in its unpacked environment, on this machine's system: passed"
    assert "  passed  load" in lines
    assert "  passed  predict       2 rows of `serving_input_example.json`" in lines
    assert lines[-2].startswith("  loading ")
    assert lines[-1].startswith("  slowest imports: ")
