"""A job's way to the model: the launcher in a cluster's Python, the scoring program, a real model in its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launched_task import install_launcher, task
from sample_models.channel.interpreters import at_hand
from scoring_roots import scoring_root

CLONE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_launcher(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def root(models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample model in this Python's environment, as in an image."""
    return scoring_root(tmp_path_factory.mktemp("root"), Path(sys.executable), models("pyfunc-rules"))


@pytest.fixture(scope="module")
def cluster_python() -> str:
    """Another Python than the model's: the oldest of clusters, where there is one."""
    return str(at_hand().get("3.8", sys.executable))


def test_a_job_scores_with_named_parameters(site: Path, root: Path, cluster_python: str, tmp_path: Path) -> None:
    rows = CLONE / "sample_models" / "pyfunc-rules" / "input.csv"
    named = (f"--input={rows}", f"--output={tmp_path}/scores.csv", "--keep=", "--rejects=")
    said = task(site, root, *named, python=cluster_python, PYTHONPATH="/nowhere", PYTHONHOME="")
    assert said.splitlines()[-1] == "returned None"
    assert (tmp_path / "scores.csv").read_text() == rows.with_name("expected.csv").read_text()


def test_the_reason_of_a_failure_is_the_runs(site: Path, root: Path, cluster_python: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("nothing\n1\n")
    said = task(site, root, "--input", str(rows), "--output", f"{tmp_path}/scores.csv", python=cluster_python)
    raised = said.partition("raised ")[2]
    assert raised.startswith("the scoring program ended with 3; it wrote last:\n")
    assert "error: " in raised
    assert not (tmp_path / "scores.csv").exists()


def test_a_run_without_input_is_told_what_it_lacks(site: Path, root: Path, cluster_python: str) -> None:
    said = task(site, root, "--input=", "--output=", python=cluster_python)
    assert "the scoring program ended with 2" in said
    assert "--input" in said
