"""Running images here: which way is taken, and the example that a model brings."""

from __future__ import annotations

import json

import pytest

from mlflow_dbimage.backends import image_runs
from mlflow_dbimage.backends.docker_engine import EngineRunner
from mlflow_dbimage.backends.image_runs import open_runner
from mlflow_dbimage.backends.unpacked_env import UnpackedRunner
from mlflow_dbimage.settings import Settings


def test_without_an_engine_images_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nowhere.sock")
    assert isinstance(open_runner(Settings(cache_dir=tmp_path)), UnpackedRunner)


@pytest.mark.engine
def test_an_engine_is_preferred(tmp_path, engine_found):
    assert isinstance(open_runner(Settings(cache_dir=tmp_path)), EngineRunner)


@pytest.fixture
def model(tmp_path):
    """A folder of a model with both forms of an example, and a function that writes its MLmodel."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "input_example.json").write_text("{}")
    (folder / "serving_input_example.json").write_text("{}")

    def described(**example):
        (folder / "MLmodel").write_text(json.dumps({"saved_input_example_info": example}))
        return folder

    return described


def test_the_form_that_keeps_types_is_preferred(model):
    folder = model(artifact_path="input_example.json", serving_input_path="serving_input_example.json")
    assert image_runs.example_file(folder) == folder / "serving_input_example.json"


def test_the_plain_form_of_older_models_will_do(model):
    folder = model(artifact_path="input_example.json")
    assert image_runs.example_file(folder) == folder / "input_example.json"


@pytest.mark.parametrize("name", ["missing.json", "../outside.json", "/etc/hostname", "link.json", 7, None, ""])
def test_what_is_no_file_of_the_model_is_no_example(model, name):
    folder = model(artifact_path=name)
    (folder.parent / "outside.json").write_text("{}")
    (folder / "link.json").symlink_to(folder.parent / "outside.json")
    assert image_runs.example_file(folder) is None


@pytest.mark.parametrize("text", ["{}", "[]", "", "saved_input_example_info: none"])
def test_a_model_without_an_example(model, text):
    folder = model()
    (folder / "MLmodel").write_text(text)
    assert image_runs.example_file(folder) is None
