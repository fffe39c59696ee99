"""`dbimage runtimes`: the catalogue for people and programs, and the gate of a pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

import sample_models
from command_line import called, typed
from mlflow_dbimage.errors import MatchError
from plugin_entrypoints.cli import dbimage
from plugin_entrypoints.cli.runtimes import runtimes

OURS = Path(str(files("mlflow_dbimage.runtimes"))) / "data" / "runtimes" / "15.4-lts.yml"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBIMAGE_CACHE_DIR", str(tmp_path / "cache"))


def run(*arguments: object, by: Callable[..., CompletedProcess[str]] = called) -> CompletedProcess[str]:
    """Run the command; `by=typed` has it be the program."""
    return by("dbimage", "runtimes", *arguments)


def result(*arguments: object):
    """Run the command in this process, and return its JSON."""
    done = CliRunner().invoke(dbimage, ["runtimes", *map(str, arguments), "--json"])
    assert done.exception is None, done.output
    return json.loads(done.stdout)


def requirements(*lines: str) -> Path:
    path = Path("requirements.txt")
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_the_list_is_a_table() -> None:
    done = run("list", by=typed)
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["runtime", "python", "spark", "java", "os", "support", "packages"]
    assert len(rows) == 43
    assert [row.split()[0] for row in rows if " 3.7." in row] == ["7.3-lts", "7.3-lts-ml", "7.6", "7.6-ml"]
    assert "ended 2026-02-01" in next(row for row in rows if row.startswith("17.1 "))


def test_the_list_as_json() -> None:
    rows = result("list")
    assert len(rows) == 43
    row = next(row for row in rows if row["runtime"] == "15.4-lts")
    assert row.pop("days_left") == pytest.approx(0, abs=100_000)  # changes daily
    assert row == {
        "runtime": "15.4-lts",
        "python": "3.11.11",
        "spark": "3.5.0",
        "java": "8",
        "os": "Ubuntu 22.04.4",
        "end_of_support": "2027-08-19",
        "package_count": 135,
    }


def test_one_is_shown_by_any_of_its_names() -> None:
    shown = result("show", "15.4.x-cpu-ml-scala2.12")
    assert shown == result("show", "15.4-lts-ml")
    assert (shown["runtime"], shown["spark_version"]) == ("15.4-lts-ml", "15.4.x-cpu-ml-scala2.12")
    assert (shown["image_spark_version"], shown["dcs_image"]) == (
        "15.4.x-scala2.12",
        "databricksruntime/standard:15.4-LTS",
    )
    assert shown["bootstrap"]["virtualenv"] == "20.24.2"
    assert shown["packages"]["lightgbm"] == "4.3.0"
    assert shown["as_of"] == "2025-12-09"


@pytest.mark.parametrize("key", [path.stem for path in OURS.parent.iterdir()])
def test_every_one_is_shown(key: str) -> None:
    done = CliRunner().invoke(dbimage, ["runtimes", "show", key])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"runtime        {key}: Databricks Runtime ")
    assert "\nnumpy " in done.stdout


def test_an_unknown_one_is_told_with_the_nearest() -> None:
    done = run("show", "15.5-lts", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["error"]["code"] == "unknown-runtime"
    assert "`15.4-lts`" in done.stderr


@pytest.mark.parametrize("sample", sample_models.names(good=True))
def test_every_good_sample_is_matched(models, sample: str) -> None:
    if sample == "mlflow-1-13":  # its Python is one that no supported runtime has
        done = CliRunner().invoke(dbimage, ["runtimes", "match", str(models(sample))])
        assert isinstance(done.exception, MatchError)
        assert "`7.6-ml`" in str(done.exception.hint)
        data = result("match", models(sample), "--runtime", "7.6-ml", "--require", "compatible")
        assert data["counts"] == {"same": 4, "compatible": 1, "changed": 0, "missing": 0}
        return
    data = result("match", models(sample))
    assert (data["runtime"], data["spark_version"]) == ("15.4-lts", "15.4.x-scala2.12")
    assert data["pins"]
    assert data["unread"] == []
    assert data["reasons"]
    assert data["met"]


def test_a_gate_that_is_met() -> None:
    done = run(
        "match", requirements("numpy==1.23.5", "pandas==1.5.1"), "--runtime", "15.4", "--require", "compatible"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "pins           1 same, 1 compatible, 0 changed, 0 missing" in done.stdout


def test_a_gate_that_is_not_met_tells_all_pins_and_writes_reports() -> None:
    path = requirements("numpy==1.26.4", "pandas==1.5.1", "acme<2")
    done = run(
        *("match", path, "--runtime", "15.4", "--require", "same", "--json"),
        *("--junit", "out/junit.xml", "--markdown", "out/match.md", "--libraries", "out/libraries.json"),
    )
    assert done.returncode == 4
    data = json.loads(done.stdout)
    assert (data["met"], data["error"]["code"]) == (False, "runtime-mismatch")
    for name in ("numpy ==1.26.4", "pandas ==1.5.1", "acme <2"):
        assert name in done.stderr
        assert name in data["error"]["message"]
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    failed = ET.parse("out/junit.xml").getroot().iter("failure")
    assert [each.get("type") for each in failed] == ["missing", "changed", "compatible"]
    assert "**not met**" in Path("out/match.md").read_text()
    assert json.loads(Path("out/libraries.json").read_text()) == [
        {"pypi": {"package": "acme<2"}},
        {"pypi": {"package": "numpy==1.26.4"}},
        {"pypi": {"package": "pandas==1.5.1"}},
    ]


def test_a_python_that_differs_is_in_the_reports_too() -> None:
    Path("environment.yml").write_text("dependencies: [python=3.10, numpy]")
    done = run("match", "environment.yml", "--runtime", "15.4", "--junit", "junit.xml", "--markdown", "match.md")
    assert done.returncode == 4
    assert "has Python 3.11, and the environment needs 3.10" in done.stderr
    assert "`14.3-lts`" in done.stderr
    (error,) = ET.parse("junit.xml").getroot().iter("error")
    assert error.get("type") == "runtime-mismatch"
    assert "the environment needs 3.10" in Path("match.md").read_text()


@pytest.mark.parametrize(
    ("name", "text", "exit_code", "code"),
    [
        ("environment.yml", "dependencies: [", 3, "environment-file-invalid"),
        ("gone.txt", None, 3, "environment-file-invalid"),
        ("pylock.toml", "lock-version = '9'", 3, "environment-file-invalid"),
        ("no-such-folder", None, 3, "model-not-found"),
        ("models:/", None, 2, "bad-model-uri"),
    ],
)
def test_what_cannot_be_read(name: str, text: str | None, exit_code: int, code: str) -> None:
    if text is not None:
        Path(name).write_text(text)
    done = run("match", name, "--json")
    assert done.returncode == exit_code, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == code


def test_libraries_say_what_they_leave_out() -> None:
    Path("environment.yml").write_text("dependencies: [python=3.11, libgomp, scipy=1.9]")
    done = run("match", "environment.yml", "--runtime", "15.4", "--libraries", "libraries.json", by=typed)
    assert done.returncode == 0
    assert "warning: `libgomp` cannot be a library of a cluster" in done.stderr
    assert json.loads(Path("libraries.json").read_text()) == [{"pypi": {"package": "scipy==1.9"}}]


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("15.4-lts.yml", "python: '3.11.11'", "python: newest", "`python` does not begin with a version"),
        ("15.4-lts.yml", "packages:", "packages: [", "at line"),
        ("15.4-lts.yml", "spark:", "sparc:", "`sparc` is no known field"),
        ("15.4.x-scala2.12.yml", "", "", "is another name of `15.4-lts`"),
    ],
)
def test_a_broken_folder_of_a_site_is_told_by_file_and_field(
    tmp_path: Path, name: str, old: str, new: str, says: str
) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / name).write_text(OURS.read_text().replace(old, new, 1))
    done = called("dbimage", "runtimes", "list", "--json", DBIMAGE_RUNTIMES_DIR=str(folder))
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (3, "bad-config-file")
    assert says in error["message"]
    assert str(folder / name) in error["message"]


def test_help_says_what_a_subject_is() -> None:
    text = CliRunner().invoke(runtimes, ["match", "--help"]).output
    for each in ("environment.yml", "requirements.txt", "pylock.toml", "--require", "--libraries"):
        assert each in text
