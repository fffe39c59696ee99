"""Policies demand what they say, and nothing else; a file that says more is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.evidence.advisories import Severity, Vulnerability
from mlflow_dbimage.evidence.bill_of_materials import Package, pip_purl
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.trust_policy import Known, TrustPolicy, judge, read_policy
from mlflow_dbimage.verification import VerificationReport
from score_images import record

IMAGE = Digest.of(b"image")
TOY = Package(manager="pip", name="toy", version="1.0", purl=pip_purl("toy", "1.0"))


def report(*checks: tuple[str, str], how: str = "engine") -> Statement:
    made = tuple(Check(name=name, outcome=outcome, detail="because") for name, outcome in checks)  # type: ignore[arg-type]
    return VerificationReport(how=how, checks=made).to_statement("churn", IMAGE)  # type: ignore[arg-type]


def vulnerability(severity: Severity) -> Vulnerability:
    return Vulnerability(package=TOY, advisory="GHSA-1", aliases=(), severity=severity, summary="bad", fixed_in=())


STATIC = report(("layers", "passed"), how="static")
OTHERS = Statement(subject_name="c", subject=IMAGE, predicate_type="t", predicate={"result": "PASSED"})
OTHERS_FAILED = replace(OTHERS, predicate={"result": "FAILED"})
KNOWN = Known(
    record=record(base_layers=1),
    signed=True,
    provenance=Statement(subject_name="c", subject=IMAGE, predicate_type="t", predicate={}),
    reports=(report(("load", "passed")),),
    runtime=Catalogue.load().get("15.4-lts"),
    vulnerabilities=(),
    today=date(2026, 1, 1),
)


@pytest.mark.parametrize(
    ("policy", "known", "met"),
    [
        (TrustPolicy(signed=True), KNOWN, True),
        (TrustPolicy(signed=True), replace(KNOWN, signed=False), False),
        (TrustPolicy(signed=True), replace(KNOWN, reports=()), False),
        (TrustPolicy(signed=True), replace(KNOWN, provenance=None), False),
        (TrustPolicy(proven=True), KNOWN, True),
        (TrustPolicy(proven=True), replace(KNOWN, reports=()), False),
        (TrustPolicy(proven=True), replace(KNOWN, reports=(*KNOWN.reports, report(("load", "failed")))), False),
        (TrustPolicy(proven=True), replace(KNOWN, reports=(STATIC,)), False),
        (TrustPolicy(proven=True), replace(KNOWN, reports=(report(("load", "passed"), ("x", "warned")),)), True),
        (TrustPolicy(proven=True), replace(KNOWN, reports=(STATIC, *KNOWN.reports)), True),
        (TrustPolicy(proven=True), replace(KNOWN, reports=(OTHERS,)), False),
        (TrustPolicy(proven=True), replace(KNOWN, reports=(OTHERS, *KNOWN.reports)), True),
        (TrustPolicy(proven=True), replace(KNOWN, reports=(*KNOWN.reports, OTHERS_FAILED)), False),
        (TrustPolicy(runtime_supported=True), KNOWN, True),
        (TrustPolicy(runtime_supported=True), replace(KNOWN, today=date(2030, 1, 1)), False),
        (TrustPolicy(runtime_supported=True), replace(KNOWN, runtime=None), False),
        (TrustPolicy(vulnerabilities=Severity.HIGH), KNOWN, True),
        (TrustPolicy(vulnerabilities=Severity.HIGH), replace(KNOWN, vulnerabilities=None), False),
        (
            TrustPolicy(vulnerabilities=Severity.HIGH),
            replace(KNOWN, vulnerabilities=[vulnerability(Severity.MEDIUM)]),
            True,
        ),
        (
            TrustPolicy(vulnerabilities=Severity.HIGH),
            replace(KNOWN, vulnerabilities=[vulnerability(Severity.UNKNOWN)]),
            False,
        ),
        (TrustPolicy(bases=("base",)), KNOWN, True),
        (TrustPolicy(bases=("ba*",)), KNOWN, True),
        (TrustPolicy(bases=("sha256:" + "1" * 64,)), KNOWN, True),
        (TrustPolicy(bases=("other", "sha256:" + "2" * 64)), KNOWN, False),
        (TrustPolicy(bases=("*",)), replace(KNOWN, record=None), False),
    ],
)
def test_each_demand_is_met_or_not(policy: TrustPolicy, known: Known, met: bool) -> None:
    (demand,) = judge(policy, known).demands
    assert demand.met is met
    assert demand.detail
    assert bool(judge(policy, known).unmet) is not met


def test_what_is_not_demanded_is_not_judged() -> None:
    nothing = Known(
        record=None,
        signed=False,
        provenance=None,
        reports=(),
        runtime=None,
        vulnerabilities=None,
        today=date(2030, 1, 1),
    )
    assert judge(TrustPolicy(), nothing).demands == ()


def test_a_policy_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('signed = true\nvulnerabilities = "high"\nbases = ["registry.example/bases/*"]\n')
    assert read_policy(path) == TrustPolicy(
        signed=True, vulnerabilities=Severity.HIGH, bases=("registry.example/bases/*",)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sined = true\n", ["`sined` is no known field"]),
        ('signed = "yes"\nvulnerabilities = "worst"\nbases = "x"\n', ["`signed`", "`vulnerabilities`", "`bases`"]),
        ("bases = [1]\n", ["`bases`"]),
        ("vulnerabilities = 3\n", ["`vulnerabilities`"]),
        ("signed = ", ["cannot read"]),
    ],
)
def test_a_file_that_is_no_policy_is_refused_with_all_its_problems(
    tmp_path: Path, text: str, said: list[str]
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_policy(path)
    assert caught.value.code == "bad-config-file"
    assert [each for each in said if each not in caught.value.message] == []


def test_a_policy_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the policy"):
        read_policy(tmp_path / "missing.toml")
