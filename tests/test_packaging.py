"""What users install is both packages with their data, and nothing else; and its entry points load."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parent.parent
PACKAGES = ("mlflow_dbimage", "plugin_entrypoints")

ENTRY_POINTS = """
import sys
from importlib.metadata import Distribution
from pathlib import Path

sys.path.insert(0, sys.argv[1])
found = next(iter(Distribution.discover(name="mlflow-dbimage", path=[sys.argv[1]])))
for point in found.entry_points:
    point.load()
    place = Path(sys.modules[point.module].__file__)
    print(point.group, point.name, place.is_relative_to(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a source distribution, and from it the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", str(folder), str(CLONE)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_exactly_both_packages(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {
        path.relative_to(CLONE).as_posix()
        for package in PACKAGES
        for path in (CLONE / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there


def test_wheel_holds_the_data_that_the_code_reads(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("mlflow_dbimage/runtimes/data/")]
    assert "mlflow_dbimage/scoring/score.sh" in names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_entry_points_load_from_the_wheel(wheel, tmp_path):
    target = tmp_path / "installed"
    install = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True)
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ENTRY_POINTS, str(target)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert sorted(told.splitlines()) == [
        "console_scripts dbimage True",
        "console_scripts dbimage-job-entry True",
        "mlflow.deployments dbimage True",
    ]
