"""The `dbimage` command, as people and CI run it: a program with two streams and an exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from command_line import called, typed

PROGRAM = Path(sys.executable).with_name("dbimage")


def dbimage(
    *arguments: object, check: int | None = 0, by: Callable[..., CompletedProcess[str]] = called, **variables: str
) -> CompletedProcess[str]:
    """Run the command and check how it ends; `by=typed` has it be the program."""
    done = by("dbimage", *arguments, **variables)
    assert check is None or done.returncode == check, done.stderr
    return done


def error_of(done: CompletedProcess[str]) -> dict[str, str]:
    """Return the error that a command with `--json` reports."""
    return json.loads(done.stdout)["error"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_version():
    from mlflow_dbimage import __version__

    assert dbimage("--version", by=typed).stdout == f"dbimage, version {__version__}\n"


def test_help_imports_nothing_heavy():
    code = """
import sys
sys.argv = ["dbimage", "--help"]
from plugin_entrypoints.cli import main
try:
    main()
except SystemExit as done:
    print(done.code, sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: dbimage")
    last = done.stdout.splitlines()[-1]
    assert last.startswith("0 ")
    for heavy in (
        "mlflow",
        "rich",
        "rattler",
        "docker",
        "pandas",
        "urllib3",
        "requests",
        "conda_pack",
        "yaml",
    ):
        assert f"'{heavy}'" not in last


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ("list", "-C", "chanels=x"),
            "unknown-key",
            "`chanels` (-C) is no known key; did you mean `channels`?",
        ),
        (("list", "-C", "layers=0"), "bad-value", "it takes a whole number from 1 to 40"),
        (("list", "-t", "dbimage:pigeon:coop"), "bad-location", "pigeon:coop"),
        (
            ("build", "m", "--name", "Churn Model"),
            "bad-name",
            "no tag or repository can hold a space, `C`, `M`",
        ),
        (("list", "-C", "input=rows.csv"), "unknown-key", "is a key of a local run only"),
    ],
)
def test_usage_errors(arguments, code, says):
    done = dbimage(*arguments, "--json", check=2)
    assert error_of(done)["code"] == code
    assert says in error_of(done)["message"]
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("build", "m"), ("no-such-command",), ("list", "-C", "x"), ("list", "--nope")]
)
def test_what_click_refuses_ends_with_2(arguments):
    assert "Usage: dbimage" in dbimage(*arguments, check=2, by=typed).stderr


def test_a_key_given_twice_is_refused():
    assert "given twice" in dbimage("list", "-C", "layers=1", "-C", "layers=2", check=2).stderr


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "dbimage.toml").write_text("layers = = 1")
    done = dbimage("config", "--json", check=3)
    assert error_of(done)["code"] == "bad-config-file"
    assert str(tmp_path / "dbimage.toml") in done.stderr


def test_config_tells_values_and_origins_without_secrets(tmp_path):
    (tmp_path / "dbimage.toml").write_text("layers = 5\nindex_url = 'https://user:s3cr3t@index.example/simple'\n")
    done = dbimage("config", "--json", "-C", "tag=nightly", by=typed, DBIMAGE_OFFLINE="yes")
    told = {each["key"]: (each["value"], each["origin"]) for each in json.loads(done.stdout)}
    assert told["layers"] == (5, str(tmp_path / "dbimage.toml"))
    assert told["index_url"][0] == "https://***@index.example/simple"
    assert told["tag"] == ("nightly", "-C")
    assert told["offline"] == (True, "DBIMAGE_OFFLINE")
    assert told["compression"] == ("gzip", "default")
    table = dbimage("config").stdout
    assert "https://***@index.example/simple" in table
    assert "s3cr3t" not in table + done.stdout


def test_a_variable_that_misses_a_key_by_a_letter_is_told():
    done = dbimage("config", "--json", DBIMAGE_LAYRES="3")
    assert "warning: the environment variable `DBIMAGE_LAYRES` is ignored" in done.stderr
    json.loads(done.stdout)


def test_caches_are_listed_and_pruned(tmp_path):
    blobs = tmp_path / "caches" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "x").write_bytes(bytes(1000))
    where = {"DBIMAGE_CACHE_DIR": str(tmp_path / "caches")}
    listed = json.loads(dbimage("cache", "list", "--json", by=typed, **where).stdout)
    assert listed == {
        "root": str(tmp_path / "caches"),
        "size": 1000,
        "parts": [{"part": "blobs", "files": 1, "size": 1000}],
    }
    assert "holds 1 kB" in dbimage("cache", "list", **where).stdout
    assert "freed 0 B" in dbimage("cache", "prune", **where).stdout
    assert (blobs / "x").exists()
    assert (
        json.loads(dbimage("cache", "prune", "--keep-days", 0, "--json", by=typed, **where).stdout)["size"] == 1000
    )
    assert not (blobs / "x").exists()


def test_doctor_ends_with_5_where_something_is_missing(tmp_path):
    done = dbimage(
        "doctor",
        "--json",
        check=5,
        by=typed,
        DBIMAGE_OFFLINE="true",
        DBIMAGE_BASE_IMAGE=f"rootfs:{tmp_path}/missing.tar",
    )
    found = {each["topic"]: each for each in json.loads(done.stdout) if each["ok"] is False}
    assert "missing.tar" in found["base"]["message"]
    assert (
        "NO  base"
        in dbimage(
            "doctor", check=5, DBIMAGE_OFFLINE="true", DBIMAGE_BASE_IMAGE=f"rootfs:{tmp_path}/missing.tar"
        ).stdout
    )


def test_an_empty_destination(tmp_path):
    assert json.loads(dbimage("list", "--json", "-t", f"oci:{tmp_path}/images").stdout) == []
    assert dbimage("list", "-t", f"oci:{tmp_path}/images").stdout == "nothing is deployed\n"
    done = dbimage("inspect", "churn", "--json", "-t", f"oci:{tmp_path}/images", check=3)
    assert error_of(done)["code"] == "not-deployed"
    deleted = dbimage("delete", "churn", "--json", "-t", f"oci:{tmp_path}/images")
    assert json.loads(deleted.stdout) == {"name": "churn", "deleted": False}
    assert not (tmp_path / "images").exists()


def test_a_bug_shows_its_traceback_and_asks_for_a_report(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import plugin_entrypoints.cli as cli; from mlflow_dbimage import settings_sources as s;"
            "s.load = lambda *a, **k: 1 / 0; cli.main()",
            "config",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "this is a bug in mlflow-dbimage" in done.stderr
    assert done.stdout == ""


def test_a_reader_that_goes_away_is_no_error():
    started = subprocess.Popen([PROGRAM, "config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.stdout.close()
    assert started.stderr.read() == ""
    assert started.wait() == 0
    started.stderr.close()


@pytest.mark.channel
@pytest.mark.base
@pytest.mark.slow
class TestForReal:
    """Builds with a real channel, base and model."""

    @pytest.fixture
    def images(self, site, tmp_path):
        return f"oci:{tmp_path}/images"

    def test_plan_writes_nothing(self, images, models, tmp_path):
        done = dbimage("plan", models("pyfunc-rules"), "--json", "-t", images, by=typed)
        planned = json.loads(done.stdout)
        names = {each["name"] for each in planned["packages"]}
        assert {"python", "mlflow-skinny"} <= names
        assert planned["match"] is None  # a base image is named, and no runtime
        assert planned["predicted_size"] == sum(each["size"] for each in planned["layers"])
        assert not (tmp_path / "images").exists()
        assert "python" in dbimage("plan", models("pyfunc-rules"), "-q", "-t", images).stdout

    def test_plan_says_how_the_runtime_fits_and_what_it_would_add(self, images, models):
        arguments = ("plan", models("pyfunc-rules"), "-q", "-t", images, "-C", "runtime=15.4-lts-ml")
        planned = json.loads(dbimage(*arguments, "--json").stdout)
        assert (planned["runtime"], planned["match"]["spark_version"]) == ("15.4-lts-ml", "15.4.x-scala2.12")
        assert planned["match"]["counts"] == {"same": 0, "compatible": 0, "changed": 3, "missing": 0}
        assert [each["kind"] for each in planned["layers"][-2:]] == ["scoring", "model"]
        text = dbimage(*arguments).stdout
        assert "pandas         ==3.1.1    1.5.3    changed" in text
        assert "by an estimate" in text
        assert "note: clusters of `15.4-lts-ml` take no container images" in text

    def test_dry_run_is_a_plan(self, images, models, tmp_path):
        done = dbimage(
            "build",
            models("pyfunc-rules"),
            "--name",
            "rules",
            "--json",
            "-q",
            "-t",
            images,
            "-C",
            "dry_run=true",
        )
        assert "packages" in json.loads(done.stdout)
        assert not (tmp_path / "images").exists()

    def test_from_build_to_delete(self, images, models):
        built = dbimage("build", models("pyfunc-rules"), "--name", "rules", "-t", images, "--json", by=typed)
        receipt = json.loads(built.stdout)
        assert receipt["digest"].startswith("sha256:")
        assert " s)" in built.stderr  # progress, as lines: stderr is no terminal
        assert "Traceback" not in built.stderr

        again = dbimage("build", models("pyfunc-rules"), "--name", "rules", "-t", images, "--json", check=3)
        assert error_of(again)["code"] == "already-deployed"
        replaced = dbimage(
            "build",
            models("pyfunc-rules"),
            "--name",
            "rules",
            "--mode",
            "replace",
            "-t",
            images,
            "--json",
            "--quiet",
            by=typed,
        )
        assert json.loads(replaced.stdout)["digest"] == receipt["digest"]
        assert json.loads(replaced.stdout)["environment_reused"]
        assert replaced.stderr == ""

        (listed,) = json.loads(dbimage("list", "--json", "-t", images, by=typed).stdout)
        assert (listed["name"], listed["digest"]) == ("rules", receipt["digest"])
        assert "rules" in dbimage("list", "-t", images).stdout
        inspected = json.loads(dbimage("inspect", "rules", "--json", "-t", images, by=typed).stdout)
        assert inspected["record"]["lock_digest"] == receipt["record"]["lock_digest"]
        assert receipt["record"]["base_digest"] in dbimage("inspect", "rules", "-t", images).stdout

        assert dbimage("delete", "rules", "-t", images, by=typed).stdout == "deleted `rules`\n"
        assert json.loads(dbimage("list", "--json", "-t", images).stdout) == []

    def test_an_update_needs_a_deployment(self, images, models):
        done = dbimage(
            "build",
            models("pyfunc-rules"),
            "--name",
            "rules",
            "--mode",
            "update",
            "-t",
            images,
            "--json",
            check=3,
        )
        assert error_of(done)["code"] == "not-deployed"

    def test_a_model_that_does_not_exist(self, images, tracking_uri):
        done = dbimage("build", "models:/nobody/3", "--name", "nobody", "-t", images, "--json", check=3)
        assert error_of(done)["code"] == "model-not-found"
        assert "Traceback" not in done.stderr

    def test_ctrl_c_ends_with_130_and_one_line(self, images, models, tmp_path, cache_dir):
        started = subprocess.Popen(
            [PROGRAM, "build", models("pyfunc-rules"), "--name", "rules", "-t", images],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DBIMAGE_CACHE_DIR": str(cache_dir)},
        )
        with started:
            for line in started.stderr:
                if line.startswith("resolving pip packages"):  # installing and packing are still to come
                    break
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=60)
        assert started.returncode == 130
        assert out == ""
        assert err.splitlines()[-1].startswith("interrupted")
        assert "Traceback" not in err
        assert not (tmp_path / "images").exists()
        assert not list((cache_dir / "work").iterdir())
