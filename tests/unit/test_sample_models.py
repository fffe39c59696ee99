"""Every sample is what its README says: good ones predict by plain MLflow, bad ones are bad in their way."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import uv
import yaml
from rattler import Gateway, install, solve

import sample_models
from sample_models import whole_model
from sample_models.__main__ import make as make_here
from sample_models.conda_channel import make_channel
from services.requirements import python_of

ROOT = Path(sample_models.__file__).parent
GOOD = sample_models.names(good=True)
BAD = sample_models.names(good=False)
# What was made by an old Python is read by an old Python.
OLD = "mlflow-1-13"


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The conda packages that samples need besides Python, in a prefix."""
    scratch = tmp_path_factory.mktemp("tools")
    channel = make_channel(scratch / "channel", [])
    specs = ["demo-rates=2.0", "demo-units-imperial"]
    records = asyncio.run(solve([channel.url], specs, gateway=Gateway(cache_dir=scratch / "gateway")))
    prefix = scratch / "prefix"
    asyncio.run(install(records, target_prefix=prefix, cache_dir=scratch / "packages", show_progress=False))
    return prefix


def predicted(name, model, tools, python=sys.executable, script=None):
    wheels = [str(path) for path in (model / "code").glob("*.whl")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT.parent), *wheels]),
        "PATH": os.pathsep.join([str(tools / "bin"), os.environ["PATH"]]),
        "DEMO_UNITS": str(tools / "share/demo-units"),
    }
    command = ["-c", script] if script else ["-m", "sample_models", "predict", name, str(model)]
    done = subprocess.run([python, *command], check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pandas.read_csv(io.StringIO(done.stdout))


def expected(name):
    return pandas.read_csv(ROOT / name / "expected.csv")


@pytest.mark.parametrize("name", sample_models.names())
def test_it_is_documented(name):
    readme = (ROOT / name / "README.md").read_text()
    assert readme.startswith(f"# {name}\n")
    assert f"[{name}]({name}/README.md)" in (ROOT / "README.md").read_text()
    assert (ROOT / name / "make.py").read_text().startswith('"""')


@pytest.mark.parametrize("name", GOOD)
def test_it_has_input_and_expected_output(name):
    rows = pandas.read_csv(ROOT / name / "input.csv")
    assert len(rows) == len(expected(name)) > 0


@pytest.mark.slow
@pytest.mark.channel
@pytest.mark.parametrize("name", sorted(set(GOOD) - {OLD}))
def test_plain_mlflow_predicts_what_is_expected(name, models, tools):
    pandas.testing.assert_frame_equal(predicted(name, models(name), tools), expected(name), rtol=1e-6)


@pytest.mark.slow
def test_the_old_model_predicts_on_its_old_python(models, tmp_path, tools):
    model = models(OLD)
    conda = yaml.safe_load((model / "conda.yaml").read_text())
    pip = next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    python = tmp_path / "environment" / "bin" / "python"
    executable = python_of("3.7")
    program = [uv.find_uv_bin(), "--quiet"]
    subprocess.run([*program, "venv", "--python", executable, tmp_path / "environment"], check=True)
    day = ["--exclude-newer", "2021-01-21"]
    subprocess.run([*program, "pip", "install", "--python", python, *day, *pip], check=True)
    script = f"""
import mlflow.pyfunc, pandas, sys
model = mlflow.pyfunc.load_model({str(model)!r})
rows = pandas.read_csv({str(ROOT / OLD / "input.csv")!r})
pandas.DataFrame({{"prediction": model.predict(rows)}}).to_csv(sys.stdout, index=False)
"""
    pandas.testing.assert_frame_equal(predicted(OLD, model, tools, python, script), expected(OLD))


def test_the_old_model_is_of_its_time(tmp_path):
    make_here(OLD, tmp_path / "model")
    mlmodel = yaml.safe_load((tmp_path / "model" / "MLmodel").read_text())
    assert str(mlmodel["utc_time_created"]).startswith("2021-01-20 ")
    assert mlmodel["flavors"]["python_function"]["env"] == "conda.yaml"
    assert "mlflow_version" not in mlmodel
    assert "- mlflow\n" in (tmp_path / "model" / "conda.yaml").read_text()


def conda_of(model):
    return yaml.safe_load((model / "conda.yaml").read_text())["dependencies"]


def no_environment(model):
    return sorted(path.name for path in model.iterdir()) == ["MLmodel", "model.py"]


def broken_yaml(model):
    with pytest.raises(yaml.YAMLError, match="line 3"):
        conda_of(model)
    return True


def yaml_object(model):
    with pytest.raises(yaml.constructor.ConstructorError, match=r"python/object/apply:os\.system"):
        conda_of(model)
    return not Path("dbimage-was-here").exists()


def pickle_python(model):
    flavor = yaml.safe_load((model / "MLmodel").read_text())["flavors"]["python_function"]
    return (model / flavor["python_model"]).exists() and f"python={flavor['python_version']}" not in conda_of(
        model
    )


def data_escape(model):
    flavor = yaml.safe_load((model / "MLmodel").read_text())["flavors"]["python_function"]
    return not (model / flavor["artifacts"]["notes"]["path"]).resolve().is_relative_to(model)


WHAT_IS_BAD = {
    "bad-no-environment": no_environment,
    "bad-broken-yaml": broken_yaml,
    "bad-yaml-object": yaml_object,
    "bad-pickle-python": pickle_python,
    "bad-data-escape": data_escape,
    "bad-path-escape": lambda model: not (model / "artifacts/notes.txt").resolve().is_relative_to(model),
    "bad-whiteout-name": lambda model: (model / "artifacts/.wh.model.py").is_file(),
    "bad-unsolvable": lambda model: {"demo-rates>=2", "demo-rates<2"} <= set(conda_of(model)[:-1]),
    "bad-unsolvable-pip": lambda model: {"requests==2.32.3", "urllib3==1.20"} <= set(conda_of(model)[-1]["pip"]),
    "bad-missing-package": lambda model: "mlflow-dbimage-no-such-package==1.0" in conda_of(model)[-1]["pip"],
    "bad-missing-python": lambda model: "python=3.99" in conda_of(model),
    "bad-pip-overwrites-conda": lambda model: (
        "six-fork" in conda_of(model) and "six==1.16.0" in conda_of(model)[-1]["pip"]
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_bad_in_its_way(name, tmp_path):
    make_here(name, tmp_path / "model")
    assert (tmp_path / "model" / "MLmodel").is_file()
    assert WHAT_IS_BAD[name](tmp_path / "model")


def test_a_whole_model_is_whole(tmp_path, tools):
    # Else the bad samples would be bad in more than their way.
    whole_model.write(tmp_path / "model")
    script = f"""
import mlflow.pyfunc, pandas, sys
model = mlflow.pyfunc.load_model({str(tmp_path / "model")!r})
model.predict(pandas.DataFrame({{"value": [1.5]}})).to_csv(sys.stdout, index=False)
"""
    assert predicted("whole", tmp_path / "model", tools, script=script)["value"].tolist() == [3.0]


@pytest.mark.slow
def test_a_sample_is_registered_as_a_new_version(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-m", "sample_models", "register", "pyfunc-rules", "--tracking-uri", uri]
    environment = os.environ | {"PYTHONPATH": str(ROOT.parent)}
    printed = [
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert printed == ["models:/pyfunc-rules/1\n", "models:/pyfunc-rules/2\n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifacts", "mlflow.db"]
    assert len(list((tmp_path / "artifacts").rglob("MLmodel"))) == 2


def test_an_unknown_sample_is_refused_by_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="no sample model 'nothing'; there are bad-broken-yaml, "):
        sample_models.make("nothing", tmp_path)


def test_a_sample_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "file").touch()
    with pytest.raises(RuntimeError, match=f"the sample model {OLD} could not be made:\n(?s:.*)not empty"):
        sample_models.make(OLD, tmp_path / "model")
