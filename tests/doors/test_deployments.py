"""The plugin, as MLflow really calls it: its command, each once as a program, and its Python client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pandas
import pytest

from command_line import called, typed


def deployments(
    *arguments: object, check: int | None = 0, by: Callable[..., CompletedProcess[str]] = called, **variables: str
) -> CompletedProcess[str]:
    """Run `mlflow deployments` and check how it ends; `by=typed` has it be the program."""
    done = by("mlflow deployments", *arguments, **variables)
    assert check is None or done.returncode == check, done.stderr
    return done


def error_lines(done: CompletedProcess[str]) -> list[str]:
    """Return what was said of an error; never a traceback."""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Error: "))
    return lines[start:]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_mlflow_accepts_the_plugin():
    from mlflow.deployments import BaseDeploymentClient, get_deploy_client

    for target in (
        "dbimage",
        "dbimage:",
        "dbimage:oci:images",
        "dbimage:/images",
        "dbimage://host.example/models",
    ):
        client = get_deploy_client(target)
        assert isinstance(client, BaseDeploymentClient)
        assert client.target_uri == target


def test_importing_the_door_imports_nothing_but_the_door():
    code = """
import sys
import mlflow.deployments
before = set(sys.modules)
import plugin_entrypoints.deployments
print(sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['mlflow_dbimage', 'plugin_entrypoints']"


def test_help_tells_targets_keys_and_examples():
    from mlflow_dbimage.settings import KEYS

    out = deployments("help", "-t", "dbimage", by=typed).stdout
    assert "dbimage://registry.example/models" in out
    assert "mlflow deployments create -t dbimage" in out
    for key in KEYS:
        assert f"  {key.name} " in out
        assert key.doc in out


@pytest.mark.parametrize(
    ("arguments", "exit_code", "first_line"),
    [
        (
            ("create", "-t", "dbimage", "--name", "churn", "-m", "m", "-C", "runtme=15.4-lts"),
            2,
            "Error: `runtme` (-C) is no known key; did you mean `runtime`?",
        ),
        (
            ("create", "-t", "dbimage", "--name", "churn", "-m", "m", "-C", "layers=many"),
            2,
            "Error: `layers` (-C) cannot be `many`: it takes a whole number from 1 to 40",
        ),
        (
            ("create", "-t", "dbimage", "--name", "Churn!", "-m", "m"),
            2,
            "Error: the deployment cannot be named `Churn!`: no tag or repository can hold `!`, `C`",
        ),
        (
            ("create", "-t", "dbimage", "--name", "churn", "-m", "m", "-f", "sklearn"),
            2,
            "Error: the flavor `sklearn` cannot be chosen: images load every model as `python_function`",
        ),
        (
            ("create", "-t", "dbimage", "--name", "churn", "-m", "m", "--endpoint", "e"),
            2,
            "Error: there are no endpoints: an image is run, it does not listen",
        ),
        (
            ("update", "-t", "dbimage", "--name", "churn"),
            2,
            "Error: the update of `churn` names no model",
        ),
        (
            ("get", "-t", "dbimage:oci:images", "--name", "churn"),
            3,
            "Error: no deployment is named `churn`",
        ),
    ],
)
def test_errors_are_one_line_and_a_hint(arguments, exit_code, first_line):
    assert error_lines(deployments(*arguments, check=exit_code))[0] == first_line


@pytest.mark.parametrize("target", ["dbimage:pigeon:coop", "dbimage:rootfs:base.tar", "dbimage:oci:"])
def test_a_target_of_no_known_form(target):
    done = deployments("list", "-t", target, check=2)
    message, hint = error_lines(done)
    assert target.removeprefix("dbimage:") in message
    assert hint.startswith("hint: ")


def test_explain_is_refused(tmp_path):
    (tmp_path / "rows.json").write_text('[{"a": 1}]')
    done = deployments("explain", "-t", "dbimage", "--name", "churn", "-I", "rows.json", check=2, by=typed)
    assert error_lines(done)[0].startswith("Error: explanations are not offered")


def test_an_empty_destination(tmp_path):
    assert "[]" in deployments("list", "-t", "dbimage:oci:images").stdout
    assert "is deleted" in deployments("delete", "-t", "dbimage:oci:images", "--name", "churn").stdout
    assert not (tmp_path / "images").exists()


def test_python_callers_catch_mlflows_exception():
    from mlflow.deployments import get_deploy_client
    from mlflow.exceptions import MlflowException

    client = get_deploy_client("dbimage:oci:images")
    with pytest.raises(MlflowException) as caught:
        client.get_deployment("churn")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert caught.value.get_http_status_code() == 404
    assert caught.value.code == "not-deployed"
    with pytest.raises(MlflowException) as caught:
        client.create_deployment("churn", "m", config={"layers": True})
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert json.loads(caught.value.serialize_as_json())["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_bug_is_not_dressed_up(monkeypatch):
    from mlflow.deployments import get_deploy_client

    import mlflow_dbimage.settings_sources

    monkeypatch.setattr(mlflow_dbimage.settings_sources, "load", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        get_deploy_client("dbimage").list_deployments()


@pytest.mark.channel
@pytest.mark.base
@pytest.mark.slow
class TestForReal:
    """Deployments of real models."""

    @pytest.fixture
    def target(self, site, tmp_path):
        return f"dbimage:oci:{tmp_path}/images"

    def test_from_create_to_delete(self, target, models):
        model = models("pyfunc-rules")
        created = deployments("create", "-t", target, "--name", "rules", "-m", model, by=typed)
        assert created.stdout.strip() == "python_function deployment rules is created"
        assert "sha256:" in created.stderr

        again = deployments("create", "-t", target, "--name", "rules", "-m", model, check=3)
        assert error_lines(again)[0].startswith("Error: a deployment `rules` exists")
        updated = deployments("update", "-t", target, "--name", "rules", "-m", model, by=typed)
        assert "Deployment rules is updated (with flavor python_function)" in updated.stdout
        missing = deployments("update", "-t", target, "--name", "other", "-m", model, check=3)
        assert error_lines(missing)[0].startswith("Error: no deployment `other` exists")

        assert "'name': 'rules'" in deployments("list", "-t", target, by=typed).stdout
        got = deployments("get", "-t", target, "--name", "rules", by=typed).stdout
        assert "name: rules" in got
        assert "digest: sha256:" in got

        deployments("delete", "-t", target, "--name", "rules", by=typed)
        deployments("delete", "-t", target, "--name", "rules")
        assert "[]" in deployments("list", "-t", target).stdout

    def test_a_dry_run_claims_no_deployment(self, target, models, tmp_path):
        arguments = (
            "create",
            "-t",
            target,
            "--name",
            "rules",
            "-m",
            models("pyfunc-rules"),
            "-C",
            "dry_run=true",
        )
        done = deployments(*arguments)
        assert "created" not in done.stdout
        assert "packages" in done.stderr
        assert not (tmp_path / "images").exists()

    def test_python_gets_more_than_a_flavor(self, target, models):
        from mlflow.deployments import get_deploy_client

        client = get_deploy_client(target)
        made = client.create_deployment("rules", str(models("pyfunc-rules")), config={"layers": 3})
        assert (made["name"], made["flavor"]) == ("rules", "python_function")
        assert client.get_deployment("rules")["digest"] == made["digest"]
        assert [each["name"] for each in client.list_deployments()] == ["rules"]

    def test_predict_gives_what_the_model_gives(self, target, models, tmp_path):
        from mlflow.deployments import get_deploy_client

        client = get_deploy_client(target)
        client.create_deployment("rules", str(models("pyfunc-rules")))
        rows = pandas.DataFrame({"income": [1000.0, 5200.0], "employment": ["none", "permanent"]})
        expected = [{"points": 1, "granted": False}, {"points": 8, "granted": True}]
        assert client.predict("rules", rows) == {"predictions": expected}

        rows.to_json(tmp_path / "rows.json", orient="records")
        done = deployments("predict", "-t", target, "--name", "rules", "-I", "rows.json", by=typed)
        assert json.loads(done.stdout) == {"predictions": expected}
        assert "scored 2 of 2 rows" in done.stderr
        body = {"dataframe_split": rows.to_dict("split", index=False)}
        (tmp_path / "body.json").write_text(json.dumps(body))
        done = deployments("predict", "-t", target, "--name", "rules", "-I", "body.json")
        assert json.loads(done.stdout) == {"predictions": expected}

    @pytest.mark.engine
    def test_with_an_engine_the_image_runs_in_a_container(self, site, models, engine_found, tmp_path):
        (tmp_path / "rows.csv").write_text("income,employment\n1000,none\n")
        arguments = ("-t", "dbimage", "--name", "rules", "-m", models("pyfunc-rules"), "-C", "input=rows.csv")
        done = deployments("run-local", *arguments)
        assert json.loads(done.stdout) == {"points": 1, "granted": False}
        assert "scored 1 of 1 rows in a container of the Docker engine" in done.stderr

    def test_predict_without_a_deployment(self, target, tmp_path):
        (tmp_path / "rows.json").write_text('[{"a": 1}]')
        done = deployments("predict", "-t", target, "--name", "nobody", "-I", "rows.json", check=3)
        assert "`nobody`" in error_lines(done)[0]

    def test_run_local_scores_the_example_of_the_model(self, site, models):
        done = deployments("run-local", "-t", "dbimage", "--name", "rules", "-m", models("pyfunc-rules"))
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [set(row) for row in rows] == [{"points", "granted"}] * 2
        assert "scored 2 of 2 rows" in done.stderr
        assert (site / "dbimage" / "images" / "index.json").exists()

    def test_run_local_scores_a_file(self, site, models, tmp_path, monkeypatch):
        monkeypatch.setenv("DBIMAGE_TARGET", "//registry.invalid/models")  # not for what is run here
        (tmp_path / "rows.csv").write_text("income,employment\n1000,none\n")
        files = ("-C", "input=rows.csv", "-C", "output=out.csv")
        done = deployments(
            "run-local", "-t", "dbimage", "--name", "rules", "-m", models("pyfunc-rules"), *files, by=typed
        )
        assert done.stdout == ""
        assert (tmp_path / "out.csv").read_text().startswith("points,granted\n")
        deployments("run-local", "-t", "dbimage", "--name", "rules", "-m", models("pyfunc-rules"), *files)

    def test_rows_that_do_not_fit_are_named(self, site, models, tmp_path):
        (tmp_path / "rows.csv").write_text("income,employment\n1000,none\nmuch,none\n")
        arguments = ("run-local", "-t", "dbimage", "--name", "rules", "-m", models("pyfunc-rules"))
        done = deployments(*arguments, "-C", "input=rows.csv", "-C", "output=out.csv", check=3)
        assert "row 2, column `income`: `much`" in error_lines(done)[0]
        assert not (tmp_path / "out.csv").exists()
