"""Markers are those of the target, on whichever machine they are asked."""

from __future__ import annotations

import sys

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.target_markers import allows, applies, applying, markers_of

ARM = markers_of("3.8.10", Platform("linux", "arm64"))


def test_no_marker_is_left_to_this_machine() -> None:
    assert default_environment().keys() <= ARM.keys()


@pytest.mark.parametrize(
    ("marker", "counts"),
    [
        ("platform_machine == 'aarch64'", True),
        ("platform_machine == 'x86_64'", False),
        ("python_version < '3.9'", True),
        ("python_full_version >= '3.8.11'", False),
        ("sys_platform == 'linux' and os_name == 'posix'", True),
        ("platform_system == 'Darwin'", False),
        ("implementation_name == 'cpython' and implementation_version == '3.8.10'", True),
        ("extra == 'all'", False),
    ],
)
def test_a_requirement_counts_where_the_target_is_as_it_says(marker: str, counts: bool) -> None:
    assert applies(Requirement(f"x ; {marker}"), ARM) == counts


def test_a_python_without_its_patch_is_its_first() -> None:
    assert markers_of("3.11", Platform("linux", "s390x")).items() >= {
        ("python_full_version", "3.11.0"),
        ("python_version", "3.11"),
        ("platform_machine", "s390x"),
    }


def test_what_is_no_requirement_is_passed_over() -> None:
    lines = [
        "x>=1",
        "no requirement <",
        f"y; python_version == '{sys.version_info.major}.99'",
        "z[a]; extra == 'b'",
        "u; 'a' in extras",
        "v; os_name ~= 'posix'",
    ]
    assert [each.name for each in applying(lines, ARM)] == ["x"]


@pytest.mark.parametrize(
    ("line", "version", "takes"),
    [("x<2", "1.9", True), ("x<2", "2.0", False), ("x>1", "2.0b1", True), ("x<2", "2.db", True)],
)
def test_a_version_is_taken_or_not(line: str, version: str, takes: bool) -> None:
    assert allows(Requirement(line), version) == takes
