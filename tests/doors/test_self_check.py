"""`score --check` through its shell script, on models that are sound and on models that are broken on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from checked_models import KeptChecks, check_of, checked_model, environment_with, self_check
from mlflow_dbimage.check_report import CheckReport
from mlflow_dbimage.verification import judge
from sample_models.channel.interpreters import at_hand
from scoring_roots import score, scoring_root
from toy_wheels import make_wheel

PYTHONS = at_hand()


def test_a_sound_model(checks: KeptChecks) -> None:
    report = checks("good")
    assert report["version"] == 1
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["example"] == "serving_input_example.json"
    assert report["predictions"] == {
        "columns": ["half", "sign"],
        "types": ["float64", "string"],
        "rows": [[0.5, "+"], [-1.5, "+"]],
        "row_count": 2,
    }
    assert (report["repeated"], report["error"]) == ("same", None)
    assert report["modules"] == {"mlflow": None, "pandas": None}
    assert (report["network"], report["writes"]) == ([], [])
    assert report["load_seconds"] > 0.05
    assert report["predict_seconds"] >= 0
    assert 50e6 < report["peak_memory"] < 2e9
    assert 10e6 < report["loaded_size"] < 5e9
    assert len(report["distributions"]) > 10
    assert report["distributions"]["pandas"][0].isdigit()


def test_slow_imports_are_named_by_package(checks: KeptChecks) -> None:
    imports = {each["module"]: each for each in checks("good")["imports"]}
    assert {"pandas", "mlflow"} <= set(imports)
    assert len(imports) == 10
    own = [each["own_seconds"] for each in imports.values()]
    assert own == sorted(own, reverse=True)
    # pandas imports numpy: it takes longer with it than without.
    assert imports["pandas"]["seconds"] > imports["pandas"]["own_seconds"]


@pytest.mark.parametrize(
    ("kind", "stage", "last"),
    [
        ("network-at-load", "load", "URLError"),
        ("network-at-predict", "predict", "OSError"),
        ("own-directory", "predict", "OSError"),
        ("no-module", "load", "ModuleNotFoundError"),
        ("other-version", "load", "ImportError"),
        ("own-file-missing", "predict", "FileNotFoundError"),
        ("raises", "predict", "KeyError"),
        ("exits", "load", "SystemExit"),
    ],
)
def test_what_ends_a_check_is_told_with_its_stage(kind: str, stage: str, last: str, checks: KeptChecks) -> None:
    error = checks(kind)["error"]
    assert (error["stage"], error["type"]) == (stage, last)
    assert any("checked_loader" in line for line in error["traceback"])
    assert error["chain"][0]["type"] == last


def test_attempts_are_refused_and_noted(checks: KeptChecks) -> None:
    assert checks("network-at-load")["network"] == ["features.example"]
    assert checks("network-at-predict")["network"] == ["192.0.2.7"]
    assert checks("network-if-there-is")["network"] == ["rates.example"]
    assert checks("network-if-there-is")["error"] is None
    assert checks("own-directory")["writes"] == ["last.log"]
    assert checks("own-directory-if-it-can")["writes"] == ["cache"]
    assert checks("own-directory-if-it-can")["error"] is None
    assert checks("loopback")["error"] is None
    assert checks("loopback")["network"] == []


def test_nothing_is_written_into_the_models_directory(tmp_path: Path) -> None:
    model = checked_model(tmp_path / "model", "own-directory-if-it-can")
    before = sorted(os.listdir(model))
    check_of(model, tmp_path / "root")
    assert sorted(os.listdir(model)) == before


def test_a_random_model_shows_itself_by_two_calls(checks: KeptChecks) -> None:
    repeated = checks("random")["repeated"]
    assert (repeated["row"], repeated["column"]) == (0, "prediction")
    assert repeated["first"] != repeated["second"]


def test_a_model_that_changes_its_input_is_not_random(checks: KeptChecks) -> None:
    assert checks("changes-its-input")["predictions"]["rows"] == [[2.0], [-6.0]]
    assert checks("changes-its-input")["repeated"] == "same"


def test_a_model_without_example_gets_one_made_of_its_signature(tmp_path: Path) -> None:
    report = check_of(checked_model(tmp_path / "model", "good", example=None), tmp_path / "root")
    assert report["example"] == "signature"
    assert report["predictions"]["rows"] == [[0.5, "+"], [0.5, "+"]]


def test_a_model_without_example_and_signature_is_only_loaded(tmp_path: Path) -> None:
    model = checked_model(tmp_path / "model", "good", example=None, signature="")
    report = check_of(model, tmp_path / "root")
    assert (report["example"], report["predictions"], report["error"]) == (None, None, None)
    assert report["load_seconds"] > 0.05


def test_an_example_that_does_not_fit_is_told(tmp_path: Path) -> None:
    model = checked_model(tmp_path / "model", "good", example=[["x"]])
    error = check_of(model, tmp_path / "root")["error"]
    assert error["stage"] == "input"
    assert error["message"] == "row 1 of the example: column `a`: `x` in a double column"


def test_requirements_that_are_missing_or_broken(tmp_path: Path) -> None:
    python = environment_with(
        tmp_path / "env",
        make_wheel(tmp_path, "broken", files={"broken/__init__.py": b"import a_module_that_is_nowhere\n"}),
        make_wheel(tmp_path, "sound", files={"space/sound/__init__.py": b""}),
    )
    lines = ("mlflow", "broken==1.0", "absent>=2", "sound", 'elsewhere; sys_platform == "win32"')
    model = checked_model(tmp_path / "model", "good", requirements=lines)
    report = self_check(scoring_root(tmp_path / "root", python, model))
    assert report["modules"] == {
        "mlflow": None,
        "broken": "importing `broken`: ModuleNotFoundError: No module named 'a_module_that_is_nowhere'",
        "absent": "it is not installed",
        "sound": None,
    }
    assert report["error"] is None


_ON_ANY_PYTHON = """
import errno, socket, sys, tempfile
from mlflow_dbimage.scoring.attempts import Attempts
from mlflow_dbimage.scoring.closeness import first_difference
from mlflow_dbimage.scoring.error_facts import error_facts
from mlflow_dbimage.scoring.import_times import ImportTimes
from mlflow_dbimage.scoring.typed_values import typed

times = ImportTimes()
with times.watched():
    import turtle_of_nowhere, wsgiref.validate
assert {each["module"] for each in times.slowest()} >= {"turtle_of_nowhere", "wsgiref"}, times.slowest()
folder = tempfile.mkdtemp()
attempts = Attempts(folder)
watched = attempts.watch()
assert watched is (sys.version_info >= (3, 8))
for act in (lambda: open(folder + "/x", "w").close(), lambda: socket.create_connection(("192.0.2.7", 9), 0.1)):
    try:
        act()
    except OSError as error:
        assert error_facts("load", error)["chain"][0]["type"]
    else:
        assert not watched
assert (attempts.writes, attempts.network) == ((["x"], ["192.0.2.7"]) if watched else ([], []))
import os
inside, outside = folder + "/inside", tempfile.mkdtemp() + "/outside"
open(outside, "w").close()
changes = [
    lambda: os.rename(outside, inside),
    lambda: os.rename(inside, outside),
    lambda: os.link(outside, inside),
    lambda: os.symlink(outside, inside),
    lambda: os.mkdir(inside),
    lambda: os.rmdir(inside),
    lambda: os.remove(inside),
    lambda: os.truncate(inside, 0),
    lambda: open(inside, "r+"),
]
for change in changes if watched else ():
    try:
        change()
    except OSError as error:
        assert error.errno == errno.EROFS, error
    else:
        raise AssertionError(change)
assert first_difference(["float64"], [[typed(1.0)]], [[typed(float("nan"))]]).row == 0
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_what_needs_the_standard_library_alone_works_on_every_python(version: str, tmp_path: Path) -> None:
    python = PYTHONS[version]
    root = scoring_root(tmp_path / "root", python, checked_model(tmp_path / "model", "good"))
    (tmp_path / "turtle_of_nowhere.py").write_text("A = 1\n")
    program = f"import sys\nsys.path[:0] = [{str(root / 'lib')!r}, {str(tmp_path)!r}]\n{_ON_ANY_PYTHON}"
    ended = subprocess.run([python, "-I", "-S", "-B", "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert os.listdir(tmp_path / "root") == ["opt"]


BARE = [version for version, python in PYTHONS.items() if python != Path(sys.executable)]


@pytest.mark.parametrize("version", BARE)
def test_an_environment_in_which_nothing_can_be_loaded_gets_a_report_too(version: str, tmp_path: Path) -> None:
    model = checked_model(tmp_path / "model", "good")
    report = self_check(scoring_root(tmp_path / "root", PYTHONS[version], model))
    assert report["python"].startswith(f"{version}.")
    assert [each.get("module") for each in report["error"]["chain"]] == [None, "yaml"]
    assert report["modules"] == {}
    assert judge("packed", found=CheckReport.from_dict(report)).cause == "the module `yaml` is missing"


def test_a_process_that_dies_has_said_at_what(tmp_path: Path) -> None:
    model = checked_model(tmp_path / "model", "segfault")
    ended = score(scoring_root(tmp_path / "root", Path(sys.executable), model), "--check")
    assert (ended.returncode, ended.stdout) == (-11, "")
    assert ended.stderr.startswith("check: loading the model\nFatal Python error: Segmentation fault")


def test_a_folder_that_is_missing_is_no_report(tmp_path: Path) -> None:
    model = checked_model(tmp_path / "model", "good")
    root = scoring_root(tmp_path / "root", Path(sys.executable), model)
    ended = score(root, "--check", "--model", tmp_path / "nowhere")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr == f"error: no model in `{tmp_path}/nowhere`: it is no folder\n"


def test_a_folder_without_mlmodel_is_a_report(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    error = check_of(tmp_path / "model", tmp_path / "root")["error"]
    assert error["stage"] == "load"
    assert error["message"] == f"no model in `{tmp_path}/model`: it has no file `MLmodel`"
