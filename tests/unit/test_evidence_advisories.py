"""Advisories are matched by ecosystem, name and version, as OSV's schema says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlflow_dbimage.evidence.advisories import Severity, find, severity_of
from mlflow_dbimage.evidence.bill_of_materials import Package, conda_purl, pip_purl, system_purl


def pip(name: str, version: str) -> Package:
    return Package(manager="pip", name=name, version=version, purl=pip_purl(name, version))


def advisory(name: str, *events: dict[str, str], ecosystem: str = "PyPI", **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
    }
    return {"id": "GHSA-1", "aliases": ["CVE-1"], "summary": "bad", "affected": [affected], **more}


def affected(version: str, *events: dict[str, str]) -> bool:
    return bool(find([pip("toy", version)], [advisory("toy", *events)]))


INSIDE = ("1.0", "1.5", "2.0rc1", "3.1", "3.2")


@pytest.mark.parametrize(
    ("version", "expected"),
    [*((version, True) for version in INSIDE), *((version, False) for version in ("0.9", "2.0", "3.3"))],
)
def test_ranges_begin_with_introduced_and_end_with_fixed_or_last_affected(version: str, expected: bool) -> None:
    events = [{"introduced": "1.0"}, {"fixed": "2.0"}, {"introduced": "3.0"}, {"last_affected": "3.2"}]
    assert affected(version, *events) is expected
    assert affected(version, *reversed(events)) is expected


def test_zero_means_from_the_beginning() -> None:
    assert affected("0.0.1a1", {"introduced": "0"}, {"fixed": "1.0"})
    assert affected("99", {"introduced": "0"})


def test_listed_versions_count_without_ranges() -> None:
    listed = {"package": {"ecosystem": "PyPI", "name": "toy"}, "versions": ["1.0", "1.1"]}
    assert find([pip("toy", "1.1")], [{"id": "X", "affected": [listed]}])
    assert not find([pip("toy", "1.2")], [{"id": "X", "affected": [listed]}])


def test_what_is_found_says_what_is_known() -> None:
    (found,) = find(
        [pip("Toy.Package", "1.0")],
        [
            advisory(
                "toy-package", {"introduced": "0"}, {"fixed": "1.1"}, database_specific={"severity": "MODERATE"}
            )
        ],
    )
    assert (found.advisory, found.aliases, found.severity) == ("GHSA-1", ("CVE-1",), Severity.MEDIUM)
    assert (found.fixed_in, found.summary, found.package.version) == (("1.1",), "bad", "1.0")


def test_the_worst_comes_first_and_withdrawn_ones_not_at_all() -> None:
    advisories = [
        {**advisory("toy", {"introduced": "0"}, database_specific={"severity": word}), "id": word}
        for word in ("LOW", "CRITICAL", "HIGH")
    ]
    advisories.append(advisory("toy", {"introduced": "0"}, withdrawn="2024-01-01T00:00:00Z"))
    assert [each.advisory for each in find([pip("toy", "1")], advisories)] == ["CRITICAL", "HIGH", "LOW"]


def test_condas_packages_are_looked_for_in_pypi() -> None:
    purl = conda_purl("toy", "1.0", build="0", channel="conda-forge", subdir="noarch")
    package = Package(manager="conda", name="toy", version="1.0", purl=purl)
    assert find([package], [advisory("toy", {"introduced": "0"})])


def test_debians_packages_are_known_by_their_source() -> None:
    purl = system_purl(
        "libssl3",
        "3.0.1-1+b1",
        distribution="debian",
        release="12",
        architecture="amd64",
        source="openssl@3.0.1-1",
    )
    package = Package(manager="system", name="libssl3", version="3.0.1-1+b1", purl=purl)
    events = ({"introduced": "0"}, {"fixed": "3.0.1-2"})
    assert find([package], [advisory("openssl", *events, ecosystem="Debian:12")])
    assert not find([package], [advisory("openssl", *events, ecosystem="Debian:11")])
    assert not find([package], [advisory("libssl3", *events, ecosystem="Debian:12")])
    assert not find([package], [advisory("openssl", *events)])


def test_a_package_is_told_once_an_advisory() -> None:
    twice = advisory("toy", {"introduced": "0"})
    twice["affected"] = [*twice["affected"], *twice["affected"]]
    assert len(find([pip("toy", "1")], [twice])) == 1


CVSS2 = {"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:P/I:P/A:P"}
CVSS3 = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}
CVSS4 = {"type": "CVSS_V4", "score": "CVSS:4.0/AV:L/AC:H/AT:N/PR:H/UI:A/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N"}


@pytest.mark.parametrize(
    ("rated", "expected"),
    [
        ({"database_specific": {"severity": "HIGH"}}, Severity.HIGH),
        ({"severity": [CVSS3, CVSS2]}, Severity.CRITICAL),
        ({"severity": [CVSS2]}, Severity.HIGH),
        ({"severity": [CVSS4]}, Severity.LOW),
        ({"severity": [{"type": "CVSS_V3", "score": "nonsense"}]}, Severity.UNKNOWN),
        ({"severity": [{"type": "Ubuntu", "score": "medium"}]}, Severity.UNKNOWN),
        ({}, Severity.UNKNOWN),
    ],
)  # fmt: skip
def test_severities_are_read_from_words_and_vectors(rated: dict[str, Any], expected: Severity) -> None:
    assert severity_of(rated) is expected


versions = st.integers(0, 30).map(lambda number: f"{number // 10}.{number % 10}")


@given(versions, versions, versions)
def test_a_range_is_what_lies_between(version: str, low: str, high: str) -> None:
    assume(float(low) <= float(high))
    inside = float(low) <= float(version) < float(high)
    assert affected(version, {"introduced": low}, {"fixed": high}) is inside


TOY = {"ecosystem": "PyPI", "name": "toy"}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"affected": None},
        {"affected": [{}]},
        {
            "affected": [
                {"package": {"ecosystem": "PyPI", "name": "toy"}, "ranges": [{"type": "GIT", "events": []}]}
            ]
        },
    ],
)
def test_advisories_that_say_nothing_of_versions_are_passed_over(broken: dict[str, Any]) -> None:
    assert find([pip("toy", "1")], [broken]) == ()


def test_versions_of_no_known_form_are_found_by_lists_alone() -> None:
    odd = pip("toy", "0.2.5.db1")
    assert not find([odd], [advisory("toy", {"introduced": "0"}, {"fixed": "1"})])
    listed = {"package": {"ecosystem": "PyPI", "name": "toy"}, "versions": ["0.2.5.db1"]}
    assert find([odd], [{"id": "X", "affected": [listed]}])
