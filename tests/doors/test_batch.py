"""The scoring program, through its shell script, in real environments: this Python's, and that of 2021."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import pandas
import pytest
import uv
from filelock import FileLock

from scoring_roots import command, score, scoring_root
from services.requirements import python_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints as it is imported
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature

CLONE = Path(__file__).resolve().parents[2]
SAMPLES = CLONE / "sample_models"
SUMMARY = re.compile(r"read (\d+) rows, scored (\d+), rejected (\d+), in [\d.]+ s\n$")
PYTHONS = ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

Roots = Callable[[str], Path]


@pytest.fixture(scope="module")
def roots(models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Roots:
    """Gives the root of a sample model in this Python's environment."""
    made: dict[str, Path] = {}

    def root(name: str) -> Path:
        if name not in made:
            made[name] = scoring_root(tmp_path_factory.mktemp(name), Path(sys.executable), models(name))
        return made[name]

    return root


class Chatty(mlflow.pyfunc.PythonModel):
    """Prints while it loads and predicts, in Python and beneath it."""

    def load_context(self, context) -> None:
        print("loading on stdout")

    def predict(self, context, model_input: pandas.DataFrame, params=None):
        print("predicting on stdout")
        os.system("echo a child on stdout")
        return model_input["a"]


class Slow(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pandas.DataFrame, params=None):
        print("predicting", flush=True)
        time.sleep(600)


@pytest.fixture(scope="module")
def pyfunc_root(tmp_path_factory: pytest.TempPathFactory) -> Callable[[mlflow.pyfunc.PythonModel], Path]:
    def root(model: mlflow.pyfunc.PythonModel) -> Path:
        folder = tmp_path_factory.mktemp(type(model).__name__)
        mlflow.pyfunc.save_model(
            folder / "model",
            python_model=model,
            signature=infer_signature(pandas.DataFrame({"a": [1.0]})),
            pip_requirements=["mlflow"],
        )
        return scoring_root(folder / "root", Path(sys.executable), folder / "model")

    return root


@pytest.mark.parametrize("version", PYTHONS)
def test_it_is_imported_by_every_python_with_its_standard_library_alone(version: str, roots: Roots):
    library = roots("sklearn-churn") / "lib"
    modules = sorted(path.stem for path in (library / "mlflow_dbimage/scoring").glob("*.py"))
    program = (
        f"import importlib, sys; sys.path.insert(0, {str(library)!r})\n"
        f"for name in {modules!r}: importlib.import_module('mlflow_dbimage.scoring.' + name)\n"
        "from plugin_entrypoints.batch import main\n"
        "main(['--version'])\n"
    )
    ended = subprocess.run(
        [python_of(version), "-I", "-S", "-B", "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"Python {version}." in ended.stdout


@pytest.mark.parametrize("name", ["sklearn-churn", "pyfunc-rules"])
def test_samples_give_what_they_should(name: str, roots: Roots, tmp_path: Path):
    ended = score(roots(name), "--input", SAMPLES / name / "input.csv", "--output", tmp_path / "out.csv")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert SUMMARY.search(ended.stderr)
    assert (tmp_path / "out.csv").read_text() == (SAMPLES / name / "expected.csv").read_text()


def test_a_models_own_serving_example_is_an_input(roots: Roots):
    root = roots("pyfunc-rules")
    ended = score(root, "--input", root / "model" / "serving_input_example.json", "--output", "-")
    assert ended.stdout == '{"points": 1, "granted": false}\n{"points": 8, "granted": true}\n'


def test_streams_kept_columns_and_params(roots: Roots):
    rows = (SAMPLES / "pyfunc-rules" / "input.csv").read_text()
    arguments = ("--input", "-", "--input-format", "csv", "--output", "-")
    more = ("--keep", "application, income", "--params", '{"min_points": 100}')
    ended = score(roots("pyfunc-rules"), *arguments, *more, input=rows)
    assert ended.stdout.splitlines()[:2] == ["application,income,points,granted", "A-01,1200.0,1,False"]
    assert "True" not in ended.stdout


def test_what_models_print_stays_off_the_output(pyfunc_root, tmp_path: Path):
    (tmp_path / "in.csv").write_text("a\n1\n")
    ended = score(pyfunc_root(Chatty()), "--input", tmp_path / "in.csv", "--output", "-")
    assert ended.stdout == "prediction\n1.0\n"
    for text in ("loading on stdout", "predicting on stdout", "a child on stdout"):
        assert text in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "missing: --input and --output"),
        (["--inptu", "x"], 2, "unrecognized arguments"),
        (["--input", "ok.csv", "--output", "out.csv", "--params", "{"], 2, "--params is no JSON"),
        (["--input", "ok.csv", "--output", "out.csv", "--params", '{"x": 1}'], 2, "has no parameter `x`"),
        (["--input", "none.csv", "--output", "out.csv"], 3, "no such file: `none.csv`"),
        (["--input", "bad.csv", "--output", "out.csv"], 3, "row 2, column `tenure_months`: `x` in a long column"),
        (["--input", "less.csv", "--output", "out.csv"], 3, "no column `monthly_charges`, `contract`, which"),
        (["--input", "ok.csv", "--output", "out.csv", "--model", "none"], 4, "no model in `none`"),
        (["--input", "ok.csv", "--output", "none/out.csv"], 5, "cannot write `none/out.csv`"),
        (["--input", "new.csv", "--output", "out.csv"], 6, "row 1: the model raised ValueError"),
    ],
)
def test_failures_are_one_line_an_exit_code_and_no_output(
    arguments: list[str], code: int, reason: str, roots: Roots, tmp_path: Path
):
    (tmp_path / "ok.csv").write_text("tenure_months,monthly_charges,contract\n1,2,one-year\n")
    (tmp_path / "bad.csv").write_text("tenure_months,monthly_charges,contract\n1,2,one-year\nx,2,one-year\n")
    (tmp_path / "less.csv").write_text("tenure_months\n1\n")
    (tmp_path / "new.csv").write_text("tenure_months,monthly_charges,contract\n1,2,no such contract\n")
    before = sorted(os.listdir(tmp_path))
    ended = score(roots("sklearn-churn"), *arguments, cwd=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    *_, last = ended.stderr.splitlines()
    assert last.startswith("error: ")
    assert reason in last
    assert sorted(os.listdir(tmp_path)) == before


def test_a_traceback_is_shown_on_demand(roots: Roots, tmp_path: Path):
    (tmp_path / "in.csv").write_text("tenure_months,monthly_charges,contract\n1,2,no such contract\n")
    arguments = ("--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv")
    assert "Traceback" not in score(roots("sklearn-churn"), *arguments).stderr
    ended = score(roots("sklearn-churn"), *arguments, environment={"DBIMAGE_TRACEBACK": "1"})
    assert ended.stderr.count("Traceback") >= 2
    assert "sklearn" in ended.stderr


def test_rejects(roots: Roots, tmp_path: Path):
    lines = [
        "tenure_months,monthly_charges,contract",
        "1,90,month-to-month",
        ",2,one-year",
        "3,4,no such contract",
    ]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    ended = score(
        roots("sklearn-churn"),
        *("--input", tmp_path / "in.csv", "--output", tmp_path / "out.jsonl", "--rejects", tmp_path / "bad.jsonl"),
    )
    assert ended.returncode == 0, ended.stderr
    assert SUMMARY.search(ended.stderr).groups() == ("3", "1", "2")
    assert (tmp_path / "out.jsonl").read_text() == '{"prediction": "leaves"}\n'
    rejected = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [(each["row"], each["column"]) for each in rejected] == [(2, "tenure_months"), (3, None)]
    assert "no such contract" in rejected[1]["reason"]


def test_describe_help_and_version(roots: Roots):
    described = json.loads(score(roots("pyfunc-rules"), "--describe").stdout)
    assert [column["name"] for column in described["inputs"]] == ["income", "employment"]
    assert described["params"][0]["name"] == "min_points"
    assert described["outputs"][1] == {"name": "granted", "required": True, "type": "boolean"}
    assert re.match(r"score \d+\.\d+, Python 3\.\d+\.\d+\n", score(roots("pyfunc-rules"), "--version").stdout)
    assert "exit codes" in score(roots("pyfunc-rules"), "--help").stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_job_leaves_nothing(number: int, code: int, pyfunc_root, tmp_path: Path):
    (tmp_path / "in.csv").write_text("a\n1\n")
    arguments = ["--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv", "--rejects", tmp_path / "bad"]
    environment = {"PATH": os.defpath, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command(pyfunc_root(Slow()), arguments), stderr=subprocess.PIPE, text=True, env=environment
    ) as job:
        for line in job.stderr:
            if line == "predicting\n":
                job.send_signal(number)
        assert job.wait() == code
    assert os.listdir(tmp_path) == ["in.csv"]


def test_the_callers_python_settings_and_servers_are_left_alone(roots: Roots, tmp_path: Path):
    (tmp_path / "pandas.py").write_text("raise SystemExit('the wrong pandas')\n")
    rows = SAMPLES / "sklearn-churn" / "input.csv"
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {
            "PYTHONPATH": str(tmp_path),
            "PYTHONHOME": "/nonexistent",
            "PYTHONSTARTUP": str(tmp_path / "pandas.py"),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.getsockname()[1]}",
            "HOME": "/nonexistent",
        }
        ended = score(
            roots("sklearn-churn"), "--input", rows, "--output", "-", environment=environment, cwd=tmp_path
        )
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert ended.returncode == 0, ended.stderr
    assert os.listdir(tmp_path) == ["pandas.py"]


@pytest.mark.parametrize("way", ["link", "path", "root"])
def test_it_finds_its_root_wherever_it_is_called_from(way: str, roots: Roots, tmp_path: Path):
    root = roots("sklearn-churn")
    environment = {"PATH": os.defpath}
    program = "score"
    if way == "link":
        (tmp_path / "score").symlink_to(root / "bin" / "score")
        program = "./score"
    elif way == "path":
        environment["PATH"] = f"{root / 'bin'}:{os.defpath}"
    else:
        program = shutil.copy(root / "bin" / "score", tmp_path / "elsewhere")
        environment["DBIMAGE_ROOT"] = str(root)
    ended = subprocess.run(
        ["sh", "-c", f"{program} --version"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.startswith("score "), ended.stderr


def test_a_root_without_an_environment_is_told_of(tmp_path: Path):
    program = shutil.copy(CLONE / "mlflow_dbimage/scoring/score.sh", tmp_path / "score")
    ended = subprocess.run(
        ["sh", program],
        env={"PATH": os.defpath, "DBIMAGE_ROOT": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        4,
        "error: no model environment: `/nowhere/env/bin/python` is no program\n",
    )


@pytest.mark.root
def test_a_read_only_machine_without_network_is_enough(roots: Roots, tmp_path: Path):
    output = tmp_path / "output"
    output.mkdir()
    arguments = ["--input", SAMPLES / "sklearn-churn" / "input.csv", "--output", output / "out.csv"]
    inside = (
        f"mount -t tmpfs none {output} && mount -o remount,bind,ro / && touch /tmp/new 2> /dev/null && exit 99\n"
        f'cd / && "$@" && cat {output}/out.csv && ls -A {output}'
    )
    ended = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", inside, "sh", *command(roots("sklearn-churn"), arguments)],
        env={"PATH": f"{os.defpath}:/usr/sbin:/sbin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (SAMPLES / "sklearn-churn" / "expected.csv").read_text() + "out.csv\n"


# A process counts what its parent held when it was made: this one holds little.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_input(form: str, roots: Roots, tmp_path: Path):
    count = 500_000
    rows = pandas.DataFrame({"id": range(count), "tenure_months": 3, "monthly_charges": 7.25})
    rows["contract"] = "one-year"
    peaks = []
    for name, part in (("small", rows.head(100)), ("large", rows)):
        path, output = tmp_path / f"{name}.{form}", tmp_path / f"out.{form}"
        _write(part, path)
        arguments = ["--input", path, "--output", output, "--keep", "id", "--chunk-rows", "5000"]
        measure = [sys.executable, "-S", "-c", MEASURE, *command(roots("sklearn-churn"), arguments)]
        peaks.append(float(subprocess.run(measure, capture_output=True, text=True, check=True).stdout))
    # MiB; the rows as a frame, and their text, take several times as much.
    assert peaks[1] - peaks[0] < 60, peaks
    assert _read(output)["id"].tolist() == list(range(count))


def _write(frame: pandas.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path, index=False)


def _read(path: Path) -> pandas.DataFrame:
    if path.suffix == ".csv":
        return pandas.read_csv(path)
    return pandas.read_json(path, lines=True) if path.suffix == ".jsonl" else pandas.read_parquet(path)


@pytest.fixture(scope="module")
def environment_of_2021() -> Path:
    """The Python of an environment with what Databricks Runtime 7.6 ML had."""
    source = python_of("3.7")
    requirements = runpy.run_path(str(SAMPLES / "mlflow-1-13" / "remake.py"))["REQUIREMENTS"]
    target = CLONE / ".cache" / "tests" / "environment-2021"
    target.parent.mkdir(parents=True, exist_ok=True)
    python = target / "bin" / "python"
    with FileLock(f"{target}.lock"):
        if not (target / "complete").exists():
            program = uv.find_uv_bin()
            subprocess.run([program, "venv", "--quiet", "--clear", "--python", source, target], check=True)
            install = [program, "pip", "install", "--quiet", "--python", python, "--exclude-newer", "2021-02-01"]
            subprocess.run([*install, *requirements, "pyarrow==1.0.1"], check=True)
            (target / "complete").touch()
    return python


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_model_of_mlflow_1_13_on_python_3_7(form: str, environment_of_2021: Path, models, tmp_path: Path):
    root = scoring_root(tmp_path / "root", environment_of_2021, models("mlflow-1-13"))
    sample = SAMPLES / "mlflow-1-13"
    first = tmp_path / f"first.{form}"
    ended = score(root, "--input", sample / "input.csv", "--output", first, "--keep", "age", "--keep", "visits")
    assert ended.returncode == 0, ended.stderr
    # What is kept of a CSV is text, and read as numbers all the same.
    ended = score(root, "--input", first, "--output", tmp_path / "out.csv")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out.csv").read_text() == (sample / "expected.csv").read_text()
    ended = score(root, "--input", sample / "input.csv", "--output", "-", "--params", '{"a": 1}')
    assert (ended.returncode, ended.stderr) == (2, "error: the model has no parameter `a`; it has none\n")


@pytest.mark.slow
def test_a_model_of_mlflow_1_13_checks_itself(environment_of_2021: Path, models, tmp_path: Path):
    root = scoring_root(tmp_path / "root", environment_of_2021, models("mlflow-1-13"))
    ended = score(root, "--check")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["error"], report["repeated"], report["watched"]) == (None, "same", False)
    assert report["predictions"]["row_count"] > 0
    assert set(report["modules"].values()) == {None}
    assert {"mlflow", "scikit-learn"} <= set(report["modules"])
    assert report["distributions"]["mlflow"] == "1.13.1"
