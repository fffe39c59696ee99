"""How far an image is proven, by which way, and what becomes of a check that does not end."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.checkers import GivenChecker
from mlflow_dbimage import reference_check
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.errors import InputError, ServiceError, VerificationError
from mlflow_dbimage.image_proof import Candidate, expected_by, must_be_proven, prove
from mlflow_dbimage.oci.image import Image, RunConfig, append
from mlflow_dbimage.verification import VerificationReport
from proof_tools import proof_tools
from score_images import record as score_record
from score_images import score_image

REPORT: dict[str, Any] = {
    "version": 1,
    "python": "3.11.7",
    "directory": "/opt/dbimage/model",
    "watched": True,
    "load_seconds": 1.0,
    "predict_seconds": 0.1,
    "peak_memory": 1000,
    "loaded_size": 1000,
    "imports": [],
    "modules": {},
    "distributions": {"pandas": "2.0"},
    "network": [],
    "writes": [],
    "example": "input_example.json",
    "predictions": {"columns": ["a"], "types": ["int64"], "rows": [[1]], "row_count": 1},
    "repeated": "same",
    "error": None,
}
OTHER = {**REPORT, "predictions": {**REPORT["predictions"], "rows": [[2]]}}


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    return BuildCache(tmp_path / "cache")


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    image = score_image(tmp_path / "blobs")
    record = ImageRecord.from_labels(image.labels)
    assert record is not None
    own = image.layers[-1]
    layer = LayerRecord(kind="scoring", digest="", diff_id=str(own.diff_id), size=own.descriptor.size, contents=())
    record = replace(record, layers=(layer,))
    return Candidate(
        image=append(image, [], RunConfig(labels=record.to_labels())), record=record, expected=lambda: None
    )


def outcomes(report: VerificationReport) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


def test_nothing_is_asked_where_nothing_is_wanted(candidate: Candidate, cache: BuildCache):
    engine = GivenChecker("engine", REPORT)
    report = prove(candidate, "none", proof_tools(cache, engine))
    assert (report.how, report.checks, report.proven, engine.asked) == ("none", (), False, 0)


def test_files_alone_prove_no_model(candidate: Candidate, cache: BuildCache):
    engine = GivenChecker("engine", REPORT)
    report = prove(candidate, "static", proof_tools(cache, engine))
    assert (report.how, report.outcome, report.proven, engine.asked) == ("static", "passed", False, 0)


def test_the_best_way_is_taken_and_the_better_ones_are_told(candidate: Candidate, cache: BuildCache):
    checkers = (GivenChecker("engine", obstacle="no engine"), GivenChecker("namespace", REPORT))
    report = prove(candidate, "auto", proof_tools(cache, *checkers))
    assert (report.how, report.proven) == ("namespace", True)
    assert [check.detail for check in report.checks if check.name == "engine"] == ["no engine"]


def test_where_there_is_no_way_files_are_looked_at_and_the_reasons_told(candidate: Candidate, cache: BuildCache):
    checkers = (GivenChecker("engine", obstacle="no engine"), GivenChecker("packed", obstacle="another machine"))
    report = prove(candidate, "auto", proof_tools(cache, *checkers))
    assert (report.how, report.proven) == ("static", False)
    assert [check.detail for check in report.checks if check.name == "engine"] == ["no engine; another machine"]


def test_where_an_engine_is_wanted_no_other_way_will_do(candidate: Candidate, cache: BuildCache):
    checkers = (GivenChecker("engine", obstacle="no engine"), GivenChecker("namespace", REPORT))
    with pytest.raises(ServiceError, match="no engine"):
        prove(candidate, "engine", proof_tools(cache, *checkers))


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        ({"stopped_by": "time"}, "it took longer than 300 s"),
        ({"stopped_by": "memory"}, "it needed more memory than 4.3 GB"),
        ({"exit_code": 137}, "it was killed by signal 9"),
        ({"exit_code": -11, "messages": "check: loading the model\n"}, "signal 11: check: loading the model"),
        ({"exit_code": 4, "messages": "error: no model environment"}, "ended with 4: error: no model environment"),
        (
            {"exit_code": 127, "messages": "python: error while loading shared libraries: libz.so.1: cannot open"
             " shared object file: No such file or directory"},
            "the shared library `libz.so.1` is missing",
        ),
    ],
)  # fmt: skip
def test_a_check_that_does_not_end_is_the_cause(
    candidate: Candidate, cache: BuildCache, ended: dict[str, Any], cause: str
):
    report = prove(candidate, "auto", proof_tools(cache, GivenChecker("engine", **ended)))
    assert cause in str(report.cause)
    assert outcomes(report)["load"] == "failed"


def of_model(folder: Path, files: dict[str, bytes]) -> tuple[Image, ImageRecord]:
    """An image whose own layer is that of its model."""
    image = score_image(folder, files={f"opt/dbimage/model/{name}": data for name, data in files.items()})
    own = image.layers[-1]
    layer = LayerRecord(kind="model", digest="", diff_id=str(own.diff_id), size=own.descriptor.size, contents=())
    return image, replace(score_record(base_layers=1), layers=(layer,))


def test_what_a_model_brings_along_is_expected_of_its_image_and_read_once(
    candidate: Candidate, cache: BuildCache, tmp_path: Path
):
    image, record = of_model(tmp_path / "a", {"expected_output.json": b'[{"a": 7}]'})
    found = expected_by(None, image, record, cache)
    assert found is not None
    assert found.columns == {"a": (7,)}
    gone = replace(image, layers=tuple(replace(each, open=io.BytesIO) for each in image.layers))
    assert expected_by(None, gone, record, cache) == found
    assert expected_by(replace(found, row_count=9), gone, record, cache) == replace(found, row_count=9)
    tools = proof_tools(cache, GivenChecker("engine", REPORT))
    report = prove(replace(candidate, expected=lambda: found), "auto", tools)
    assert outcomes(report)["expected"] == "failed"


def test_a_model_that_brings_nothing_or_nonsense(cache: BuildCache, tmp_path: Path):
    for _ in range(2):
        assert expected_by(None, *of_model(tmp_path / "a", {"MLmodel": b"x"}), cache) is None
    with pytest.raises(InputError, match="the expected predictions `expected_output.json` cannot be read"):
        expected_by(None, *of_model(tmp_path / "b", {"expected_output.json": b"{"}), cache)


def test_a_report_that_cannot_be_read_is_no_report(candidate: Candidate, cache: BuildCache):
    report = prove(candidate, "auto", proof_tools(cache, GivenChecker("engine", {"version": 1})))
    assert outcomes(report)["load"] == "failed"


def test_a_layer_that_cannot_be_unpacked_fails_the_image(candidate: Candidate, cache: BuildCache):
    lying = GivenChecker("namespace", raises=VerificationError("digest-mismatch", "a layer has another diff ID"))
    assert prove(candidate, "auto", proof_tools(cache, lying)).cause == "a layer has another diff ID"


def test_what_was_kept_is_the_reference(candidate: Candidate, cache: BuildCache):
    reference_check.keep(cache, candidate.lock, candidate.model, OTHER)
    packed = GivenChecker("packed", OTHER)
    report = prove(candidate, "auto", proof_tools(cache, GivenChecker("engine", REPORT), packed))
    assert "different prediction" in str(report.cause)
    assert packed.asked == 1, "again, to see whether the model is random"


def test_where_none_was_kept_the_layers_alone_make_one_that_is_kept(candidate: Candidate, cache: BuildCache):
    packed = GivenChecker("packed", REPORT)
    tools = proof_tools(cache, GivenChecker("engine", REPORT), packed)
    for _ in range(2):
        assert outcomes(prove(replace(candidate, built=True), "auto", tools))["reference"] == "passed"
    assert packed.asked == 1


def test_what_an_image_of_somebody_else_says_is_no_reference_for_later(candidate: Candidate, cache: BuildCache):
    forged = GivenChecker("packed", OTHER)
    prove(candidate, "auto", proof_tools(cache, GivenChecker("engine", OTHER), forged))
    assert (forged.asked, reference_check.find(cache, candidate.lock, candidate.model)) == (1, None)


def test_where_the_layers_alone_are_the_way_they_are_not_their_own_reference(
    candidate: Candidate, cache: BuildCache
):
    packed = GivenChecker("packed", REPORT)
    report = prove(candidate, "auto", proof_tools(cache, packed))
    assert (outcomes(report)["reference"], packed.asked) == ("skipped", 1)


def test_only_what_failed_is_refused(candidate: Candidate, cache: BuildCache):
    must_be_proven(prove(candidate, "static", proof_tools(cache)))
    failed = prove(candidate, "auto", proof_tools(cache, GivenChecker("engine", exit_code=1)))
    with pytest.raises(VerificationError) as caught:
        must_be_proven(failed)
    assert caught.value.code == "not-proven"
    assert caught.value.details == {"verification": failed.to_dict()}
