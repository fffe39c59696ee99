"""Reports of a fit: read back by what reads them, whatever the names in them are."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import MatchError, ServiceError
from mlflow_dbimage.match_reports import ReportFiles, junit, junit_error, libraries, markdown, refusal
from mlflow_dbimage.runtime_fit import RuntimeFit, Subject, examine
from mlflow_dbimage.runtimes import Catalogue

CATALOGUE = Catalogue.load()
NASTY = "a|b`<script>&\"'\x00\x1b\ufffe]]>é☃"


def fit(*pip: str, conda: tuple[str, ...] = (), origin: str = "requirements.txt: line 1") -> RuntimeFit:
    def lines(texts: tuple[str, ...]) -> tuple[Requirement, ...]:
        return tuple(Requirement(text=text, origin=origin) for text in texts)

    subject = Subject(noun="environment", python=None, pip=lines(pip), conda=lines(conda))
    return examine(CATALOGUE.get("15.4-lts"), subject, CATALOGUE, date(2026, 11, 24))


FOUR = fit("numpy==1.23.5", "pandas==1.5.1", "scipy==1.9.0", "acme>=1")


def test_a_refusal_tells_all_pins() -> None:
    error = refusal(FOUR, "compatible")
    assert error is not None
    assert (error.code, error.exit_code) == ("runtime-mismatch", 4)
    assert error.message.splitlines() == [
        "2 of 4 pins do not agree with `15.4-lts` as is required (`compatible`):",
        "  acme >=1: missing, the runtime has none (requirements.txt: line 1)",
        "  scipy ==1.9.0: changed, the runtime has 1.11.1 (requirements.txt: line 1)",
    ]
    same = refusal(FOUR, "same")
    assert same is not None
    assert "  pandas ==1.5.1: compatible, the runtime has 1.5.3" in same.message
    assert refusal(fit("numpy==1.23.5"), "same") is None


@pytest.mark.parametrize(
    ("required", "failed"),
    [
        (None, []),
        ("compatible", ["acme >=1", "scipy ==1.9.0"]),
        ("same", ["acme >=1", "pandas ==1.5.1", "scipy ==1.9.0"]),
    ],
)
def test_junit_has_a_test_a_pin(required, failed: list[str]) -> None:
    root = ET.fromstring(junit(FOUR, required))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", str(len(failed)), "0")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases if case.find("failure") is not None] == failed
    assert {case.get("classname") for case in cases} == {"15.4-lts"}
    values = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert values["spark_version"] == "15.4.x-scala2.12"


@given(st.text(max_size=30), st.text(max_size=20))
def test_no_name_breaks_a_report(name: str, origin: str) -> None:
    found = fit(f"./{name}", "numpy @ file:///" + name.replace("\n", ""), origin=origin)
    ET.fromstring(junit(found, "same"))
    ET.fromstring(junit_error(name, MatchError("runtime-mismatch", name)))
    table = [line for line in markdown(name, found, "same").splitlines() if line.startswith("| ")]
    assert len(table) == 2 + len(found.comparison.pins)


def test_what_xml_and_markdown_would_read_is_escaped() -> None:
    error = MatchError("runtime-mismatch", NASTY)
    (case,) = ET.fromstring(junit_error(NASTY, error)).iter("testcase")
    assert case.get("name") == NASTY.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace(
        "\ufffe", "\ufffd"
    )
    text = markdown(NASTY, FOUR, None)
    assert "<script>" not in text.replace("\\<", "")
    assert "a\\|b\\`\\<script\\>\\&" in text


def test_markdown_tells_the_worst_first() -> None:
    text = markdown("requirements.txt", FOUR, "compatible")
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| acme | \\>=1 | - | **missing** |",
        "| scipy | ==1.9.0 | 1.11.1 | **changed** |",
        "| pandas | ==1.5.1 | 1.5.3 | compatible |",
        "| numpy | ==1.23.5 | 1.23.5 | same |",
    ]
    assert text.startswith("## requirements.txt on Databricks Runtime 15.4 LTS — **not met**")
    assert "- pins: 1 same, 1 compatible, 1 changed, 1 missing\n" in text


def test_libraries_are_what_the_runtime_does_not_satisfy() -> None:
    found, left_out = libraries(
        fit(
            "numpy==1.23.5",
            "pandas==1.5.1",
            "mlflow[databricks]>=2.12 ; python_version >= '3.8'",
            "requests",
            "pyspark==3.4.0",
            "vat @ https://host/vat-1.0.tar.gz",
            conda=("scipy=1.9.0=py311_0", "libgomp", "urllib3"),
        )
    )
    assert found == [
        {"pypi": {"package": "mlflow[databricks]>=2.12"}},
        {"pypi": {"package": "pandas==1.5.1"}},
        {"pypi": {"package": "scipy==1.9.0"}},
    ]
    assert left_out == ("libgomp", "vat from vat-1.0.tar.gz")


def test_reports_are_written_whole_into_folders_that_are_made(tmp_path: Path) -> None:
    files = ReportFiles(
        junit=tmp_path / "reports" / "junit.xml",
        markdown=tmp_path / "reports" / "match.md",
        libraries=tmp_path / "libraries.json",
    )
    assert files.write("requirements.txt", FOUR, "same") == ()
    assert (tmp_path / "reports" / "junit.xml").read_bytes() == junit(FOUR, "same")
    assert json.loads((tmp_path / "libraries.json").read_text()) == libraries(FOUR)[0]
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["junit.xml", "match.md"]
    assert (tmp_path / "libraries.json").stat().st_mode & 0o777 == 0o644


def test_a_report_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError) as caught:
        ReportFiles(junit=tmp_path / "file" / "junit.xml").write("x", FOUR, None)
    assert caught.value.code == "disk-failed"
    assert str(tmp_path / "file" / "junit.xml") in caught.value.message
    (tmp_path / "there").mkdir()
    with pytest.raises(ServiceError):
        ReportFiles(junit=tmp_path / "there").write("x", FOUR, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]
