"""Licences are read where packages say them; texts and nothing are no names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_dbimage.package_licences import read_licences

SITE = "lib/python3.11/site-packages"


def wheel(prefix: Path, *headers: str) -> None:
    info = prefix / SITE / "toy-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    lines = ["Metadata-Version: 2.1", "Name: Toy_Package.x", "Version: 1.0", *headers, "", "License: of the text"]
    (info / "METADATA").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["License-Expression: MIT AND BSD-3-Clause", "License: other"], "MIT AND BSD-3-Clause"),
        (["License: Apache 2.0", "Classifier: License :: OSI Approved :: MIT License"], "Apache 2.0"),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT License"),
        (["Classifier: License :: OSI Approved :: A", "Classifier: License :: B"], "A, B"),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: A"], "A"),
        ([f"License: {'the whole text ' * 10}"], None),
        ([], None),
    ],
)
def test_wheels(tmp_path: Path, headers: list[str], expected: str | None) -> None:
    wheel(tmp_path, *headers)
    assert read_licences(tmp_path).get(("pip", "toy-package-x")) == expected


def test_conda_packages_beside_wheels(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    for name, licence in (("numpy", "BSD-3-Clause"), ("silent", None)):
        record = {"name": name, "license": licence}
        (tmp_path / "conda-meta" / f"{name}-1-0.json").write_text(json.dumps(record))
    wheel(tmp_path, "License: MIT")
    assert read_licences(tmp_path) == {("conda", "numpy"): "BSD-3-Clause", ("pip", "toy-package-x"): "MIT"}


def test_metadata_of_another_encoding_is_no_failure(tmp_path: Path) -> None:
    wheel(tmp_path, "License: MIT")
    path = tmp_path / SITE / "toy-1.0.dist-info" / "METADATA"
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    assert read_licences(tmp_path)
