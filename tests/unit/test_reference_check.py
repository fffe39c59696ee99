from __future__ import annotations

from pathlib import Path

from checked_models import KeptChecks
from mlflow_dbimage import reference_check
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.check_report import CheckReport
from mlflow_dbimage.oci.digest import Digest

LOCK, MODEL = Digest.of(b"lock"), Digest.of(b"model")


def test_a_reference_is_of_one_lock_and_one_model(checks: KeptChecks, tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    report = checks("good")
    assert reference_check.find(cache, LOCK, MODEL) is None
    reference_check.keep(cache, LOCK, MODEL, report)
    assert reference_check.find(cache, LOCK, MODEL) == CheckReport.from_dict(report)
    assert reference_check.find(cache, MODEL, LOCK) is None
    assert reference_check.find(cache, LOCK, Digest.of(b"another")) is None


def test_a_check_that_ended_early_is_no_reference(checks: KeptChecks, tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    reference_check.keep(cache, LOCK, MODEL, checks("raises"))
    assert reference_check.find(cache, LOCK, MODEL) is None
    reference_check.keep(cache, LOCK, MODEL, {**checks("raises"), "example": "signature"})
    assert reference_check.find(cache, LOCK, MODEL) is not None


def test_a_reference_that_cannot_be_read_is_none_and_goes(checks: KeptChecks, tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    reference_check.keep(cache, LOCK, MODEL, {**checks("good"), "version": 0})
    (record,) = (path for path in tmp_path.rglob("*.json"))
    assert reference_check.find(cache, LOCK, MODEL) is None
    assert not record.exists()
