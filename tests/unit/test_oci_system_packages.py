"""dpkg's records: what is installed, with the source that advisories speak of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.oci.system_packages import SystemPackage, read_status

STATUS = """\
Package: libssl3
Status: install ok installed
Priority: optional
Architecture: amd64
Multi-Arch: same
Source: openssl (3.0.1-1)
Version: 3.0.1-1+b1
Description: library
 Package: not-a-field
 .

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Source: bash
Version: 5.2-1
"""


def test_what_is_installed_is_read_with_its_source() -> None:
    assert read_status([STATUS]) == (
        SystemPackage(name="bash", version="5.2-1", architecture="amd64", source=None),
        SystemPackage(name="libssl3", version="3.0.1-1+b1", architecture="amd64", source="openssl@3.0.1-1"),
    )


def test_images_without_dpkg_have_a_file_a_package() -> None:
    texts = ["Package: base-files\nVersion: 12\nArchitecture: amd64\n", "Package: netbase\nVersion: 6.4\n"]
    assert [(each.name, each.architecture) for each in read_status(texts)] == [
        ("base-files", "amd64"),
        ("netbase", "all"),
    ]


@pytest.mark.skipif(not Path("/var/lib/dpkg/status").is_file(), reason="needs dpkg")
def test_this_machines_packages_are_those_that_dpkg_lists() -> None:
    form = "${db:Status-Abbrev} ${Package} ${Version}\n"
    listed = subprocess.run(["dpkg-query", "-W", f"-f={form}"], capture_output=True, text=True, check=True).stdout
    installed = {tuple(line.split()[1:]) for line in listed.splitlines() if line.startswith("ii")}
    found = read_status([Path("/var/lib/dpkg/status").read_text(encoding="utf-8")])
    assert {(each.name, each.version) for each in found} == installed


@given(st.text())
def test_no_text_is_a_failure(text: str) -> None:
    read_status([text])
