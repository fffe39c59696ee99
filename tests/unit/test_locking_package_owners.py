from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.locking.package_owners import (
    CondaDistribution,
    InstalledConda,
    ResolvedDistribution,
    constraints,
    read_installed,
    settle_distributions,
)
from solving import lines
from toy_channel import distribution_files


def conda_package(name: str) -> CondaPackage:
    return CondaPackage(
        name=name,
        version="1",
        build="0",
        build_number=0,
        subdir="noarch",
        file_name="f",
        sha256="0",
        size=1,
        channel="c",
        canonical_url="u",
        url="u",
    )


def installed(**versions: str | None) -> InstalledConda:
    found = {
        name: CondaDistribution(name=name, version=version, package=f"py-{name}")
        for name, version in versions.items()
    }
    return InstalledConda(distributions=found, paths={"p": ("py-six", None)})


def make_prefix(directory: Path, name: str, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    paths = [{"_path": path, "sha256": "0", "sha256_in_prefix": "1"} for path in files]
    record = {"name": name, "files": list(files), "paths_data": {"paths": paths}}
    (directory / "conda-meta").mkdir(exist_ok=True)
    (directory / "conda-meta" / f"{name}.json").write_text(json.dumps(record))


def test_distributions_are_known_by_their_metadata_not_by_the_package(tmp_path: Path) -> None:
    make_prefix(tmp_path, "py-opencv", distribution_files("Open_CV.Python", "4.5", "3.11"))
    found = read_installed(tmp_path)
    assert found.distributions["open-cv-python"].version == "4.5"
    assert found.distributions["open-cv-python"].package == "py-opencv"
    assert found.paths["lib/python3.11/site-packages/Open_CV.Python/__init__.py"] == ("py-opencv", "1")


def test_modules_without_metadata_count_as_the_package_of_no_version(tmp_path: Path) -> None:
    make_prefix(tmp_path, "demo", {"lib/python3.11/site-packages/demo.py": b""})
    make_prefix(tmp_path, "libz", {"lib/libz.so": b""})
    found = read_installed(tmp_path)
    assert {name: each.version for name, each in found.distributions.items()} == {"demo": None}


@pytest.mark.parametrize(
    ("line", "held"),
    [
        ("six", True),
        ("six>=1.10", True),
        ("six==1.16.0", True),
        ("Six==1.15.0", False),
        ("six @ https://index.example/six-1.16.0.tar.gz", False),
        ("-r requirements.txt", True),
    ],
)
def test_conda_holds_pip_to_its_version_unless_a_line_asks_another(line: str, held: bool) -> None:
    expected = {"six": "six==1.16.0"} if held else {}
    assert constraints(installed(six="1.16.0"), lines(line)) == expected


@pytest.mark.parametrize(
    ("resolved", "conda_version", "owner"),
    [
        (ResolvedDistribution(name="six", version="1.16.0"), "1.16.0", "conda"),
        (ResolvedDistribution(name="six", version="1.16"), "1.16.0", "conda"),
        (ResolvedDistribution(name="six", version="1.15.0"), "1.16.0", "pip"),
        (ResolvedDistribution(name="six", version="1.16.0", direct=True), "1.16.0", "pip"),
        (ResolvedDistribution(name="six", version="1.16.0"), None, "pip"),
    ],
)
def test_a_distribution_of_both_has_one_owner(
    resolved: ResolvedDistribution, conda_version: str | None, owner: str
) -> None:
    conda = [conda_package("py-six"), conda_package("zlib")]
    settled = settle_distributions(conda, [resolved], installed(six=conda_version))
    assert [(each.distribution, each.owner) for each in settled.decisions] == [("six", owner)]
    assert [each.name for each in settled.pip] == (["six"] if owner == "pip" else [])
    assert "py-six" in {each.name for each in settled.conda} or owner == "pip"
    assert settled.left_out == (frozenset(["py-six"]) if owner == "pip" else frozenset())
    assert ("p" in installed(six="1").without(settled.left_out).paths) == (owner == "conda")
