"""The launcher: read as a distribution, and run as a Python wheel task runs it, by every Python of clusters."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from launched_task import TASK, install_launcher, task
from mlflow_dbimage.launcher.distribution import launcher_entries
from services.requirements import python_of

VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the launcher in it."""
    return install_launcher(tmp_path_factory.mktemp("cluster"))


def program(folder: Path, script: str) -> Path:
    """Write a scoring program, and return the root that it is in."""
    path = folder / "bin" / "score"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return folder


def test_it_is_a_distribution_whose_record_is_right(site: Path) -> None:
    (found,) = Distribution.discover(name="dbimage_launcher", path=[str(site)])
    (point,) = found.entry_points
    assert (point.name, point.value) == ("score", "dbimage_launcher:score")
    assert found.metadata["Requires-Python"] == ">=3.8"
    assert found.files is not None
    for each in found.files:
        data = (site / each).read_bytes()
        if each.name == "RECORD":
            assert (each.hash, each.size) == (None, None)
            continue
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        assert (each.hash.mode, each.hash.value, each.size) == ("sha256", digest, len(data))
    listed = {str(each) for each in found.files}
    assert listed == {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}


def test_its_version_is_that_of_its_bytes() -> None:
    """Raise the version with the launcher, and write the new digest here."""
    digest = hashlib.sha256()
    for entry in launcher_entries("site"):
        assert entry.content is not None
        digest.update(f"{entry.path} {entry.mode:o}\n".encode() + entry.content().read())
    assert digest.hexdigest()[:16] == "c48ca335069ca54a"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_of_clusters_runs_it(version: str, site: Path, tmp_path: Path) -> None:
    root = program(tmp_path / "root", 'for each in "$@"; do echo "<$each>"; done; exit 0')
    said = task(site, root, "--input=/Volumes/a b.csv", "--keep=", "--output", "x", python=str(python_of(version)))
    assert said == "<--input=/Volumes/a b.csv>\n<--output>\n<x>\nreturned None\n"


def test_the_programs_last_words_are_in_the_error(site: Path, tmp_path: Path) -> None:
    root = program(tmp_path, "seq 1 50; echo 'error: no column `age`' >&2; exit 3")
    passed, _, raised = task(site, root).partition("raised ")
    assert passed.splitlines()[:50] == [str(number) for number in range(1, 51)]
    assert raised.startswith("the scoring program ended with 3; it wrote last:\n32\n33\n")
    assert raised.endswith("\n50\nerror: no column `age`\n")


def test_a_killed_program_is_no_success(site: Path, tmp_path: Path) -> None:
    assert "was killed by signal 9" in task(site, program(tmp_path, "kill -9 $$"))


def test_a_cluster_without_the_image_is_told_what_it_lacks(site: Path, tmp_path: Path) -> None:
    said = task(site, tmp_path)
    assert f"there is no program `{tmp_path}/bin/score`" in said
    assert "docker_image" in said


def test_the_cluster_pythons_settings_do_not_reach_the_model(site: Path, tmp_path: Path) -> None:
    root = program(tmp_path, "env")
    variables = {
        "PYTHONPATH": "/databricks/spark/python",
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MLFLOW_TRACKING_URI": "databricks",
    }
    said = task(site, root, **variables)
    assert "MLFLOW_TRACKING_URI=databricks\n" in said
    assert "PYTHON" not in said
    assert "MPLBACKEND" not in said
    assert "MPLBACKEND=agg\n" in task(site, root, MPLBACKEND="agg")


def test_what_is_no_text_and_has_no_lines_passes_through(site: Path, tmp_path: Path) -> None:
    root = program(tmp_path, "printf '\\377'; head -c 3000000 /dev/zero | tr '\\0' x; exit 1")
    said = task(site, root, PYTHONIOENCODING="utf-8")
    assert said.startswith("\N{REPLACEMENT CHARACTER}xxx")
    assert said.count("x") > 3_000_000
    assert len(said) < 3_400_000


def started(site: Path, root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TASK, str(site)],
        env={"PATH": os.defpath, "DBIMAGE_ROOT": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_lines_are_shown_as_they_come(site: Path, tmp_path: Path) -> None:
    root = program(tmp_path, f'echo first; while [ ! -e "{tmp_path}/go" ]; do sleep 0.05; done; echo last')
    with started(site, root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        (tmp_path / "go").touch()
        assert process.stdout.read() == "last\nreturned None\n"


def test_a_cancelled_task_ends_the_program(site: Path, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    root = program(tmp_path, f"trap 'touch {ended}; exit 143' TERM\necho ready\nwhile :; do sleep 0.05; done")
    with started(site, root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert ended.exists()
