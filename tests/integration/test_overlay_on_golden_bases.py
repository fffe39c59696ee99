"""Samples over the golden bases of real runtimes: what they add, and that they score."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pandas
import pytest
from packaging.utils import canonicalize_name

import sample_models
from mlflow_dbimage import image_run
from mlflow_dbimage.backends.docker_engine import DockerEngine
from mlflow_dbimage.backends.image_runs import EngineRunner
from mlflow_dbimage.backends.unpacked_env import UnpackedRunner
from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.image_run import ScoreRequest
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layout import Layout
from sandboxes import sandbox
from services.golden_bases import MadeBase
from whole_environment import Tree, install_whole, states, unpack_all

pytestmark = [pytest.mark.slow, pytest.mark.base, pytest.mark.channel]

DBIMAGE = (sys.executable, "-c", "from plugin_entrypoints.cli import main; main()")
PREFIX = "opt/dbimage/env"
# What the runtime has of what the sample asks for; of `mlflow` the part that loading needs.
OWN_PINS = ("mlflow-skinny", "cloudpickle", "numpy", "pandas", "scikit-learn", "scipy")


@dataclass
class Site:
    """Builds models on a golden base."""

    base: MadeBase
    folder: Path
    environment: dict[str, str]

    def build(self, name: str, model: Path) -> dict[str, Any]:
        command = [
            *DBIMAGE,
            "build",
            str(model),
            "--name",
            name,
            "--json",
            "-C",
            f"base_image={self.base.location}",
        ]
        done = subprocess.run(
            [*command, "-t", f"oci:{self.folder}/images"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def image(self, name: str) -> Image:
        return Layout(self.folder / "images").image(name)


def site_of(base: MadeBase, folder: Path, cache: Path) -> Site:
    environment = {**os.environ, **base.variables, "DBIMAGE_CACHE_DIR": str(cache)}
    return Site(base, folder, environment)


@pytest.fixture
def on_15_4(golden_15_4_lts_ml: MadeBase, shared_cache_dir: Path, tmp_path: Path) -> Site:
    return site_of(golden_15_4_lts_ml, tmp_path, shared_cache_dir)


def own_layers(base: MadeBase) -> tuple[Layer, ...]:
    """Return the layers of a golden base above the operating system's."""
    place, _, digest = base.location.removeprefix("oci:").partition("@")
    image = Layout(Path(place)).image(Digest.parse(digest))
    record = BaseRecord.from_labels(image.labels)
    assert record is not None
    return image.layers[record.system_layers :]


@pytest.fixture(scope="module")
def trained_on_15_4(golden_15_4_lts_ml: MadeBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scikit-learn sample, trained by the runtime's own packages."""
    folder = tmp_path_factory.mktemp("trained")
    unpack_all(own_layers(golden_15_4_lts_ml), folder / "root")
    script = (
        f"import sys, pathlib; sys.path.insert(0, {str(sample_models.folder('sklearn-churn'))!r});"
        f" import make; make.REQUIREMENTS = {OWN_PINS!r}; make.make(pathlib.Path('model'))"
    )
    python = folder / "root" / PREFIX / "bin" / "python"
    variables = {"HOME": str(folder), "PATH": os.environ["PATH"], "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [python, "-B", "-W", "ignore", "-c", script],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "model"


@pytest.fixture(scope="module")
def changed_on_15_4(trained_on_15_4: Path) -> Path:
    """The same model with three pins of its own."""
    model = trained_on_15_4.with_name("changed")
    shutil.copytree(trained_on_15_4, model)
    text = (model / "conda.yaml").read_text()
    for before, after in (
        ("pandas==1.5.3", "pandas==2.0.3"),
        ("scipy==1.11.1", "scipy==1.11.4\n  - joblib==1.3.2"),
    ):
        assert before in text
        text = text.replace(before, after)
    (model / "conda.yaml").write_text(text)
    return model


@pytest.fixture
def runner(engine_found) -> Iterator[EngineRunner]:
    found = DockerEngine.find()
    assert found is not None
    yield EngineRunner(found)
    found.close()


def assert_predicts(image: Image, sample: str, runner: EngineRunner | UnpackedRunner, folder: Path) -> None:
    """Score the sample's rows, and hold the predictions against what plain MLflow gives."""
    output = folder / f"predictions-{runner.how}.csv"
    rows = next(sample_models.folder(sample).glob("input.*"))
    done = image_run.run(image, ScoreRequest(input=rows, output=output), runner)
    assert done.scored == done.rows > 0
    expected = pandas.read_csv(sample_models.folder(sample) / "expected.csv")
    pandas.testing.assert_frame_equal(pandas.read_csv(output), expected, rtol=1e-6)


def laid_over(image: Image) -> list[str]:
    """Return the distributions that an image brings, beside those of its base."""
    record = ImageRecord.from_labels(image.labels)
    assert record is not None
    assert record.env_layout == "overlay"
    return sorted(title for layer in record.layers if layer.kind == "environment" for title in layer.contents)


@pytest.mark.engine
def test_the_runtimes_own_pins_add_next_to_nothing(
    on_15_4: Site, trained_on_15_4: Path, runner: EngineRunner, tmp_path: Path
) -> None:
    receipt = on_15_4.build("own", trained_on_15_4)
    image = on_15_4.image("own")
    assert laid_over(image) == []
    assert receipt["added_size"] < 5_000_000
    assert_predicts(image, "sklearn-churn", runner, tmp_path)
    assert_predicts(image, "sklearn-churn", UnpackedRunner(tmp_path / "unpacked", sandbox), tmp_path)


#: Prints kind, mode and content of all in a folder, as `whole_environment.states` does.
_STATES = """
import hashlib, json, os, stat, sys
found, root = {}, sys.argv[1]
for folder, folders, files in os.walk(root):
    for name in folders + files:
        path = os.path.join(folder, name)
        status = os.lstat(path)
        place, mode = os.path.relpath(path, root), stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            found[place] = ("link", 0, os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            found[place] = ("folder", mode, "")
        else:
            found[place] = ("file", mode, hashlib.sha256(open(path, "rb").read()).hexdigest())
json.dump(found, open(sys.argv[2], "w"))
"""


@pytest.mark.engine
def test_three_pins_cost_three_distributions_and_what_they_force(
    on_15_4: Site, changed_on_15_4: Path, runner: EngineRunner, tmp_path: Path
) -> None:
    on_15_4.build("changed", changed_on_15_4)
    image = on_15_4.image("changed")
    *pinned, forced = laid_over(image)
    assert pinned == ["joblib 1.3.2", "pandas 2.0.3", "scipy 1.11.4"]
    assert forced.startswith("tzdata "), "pandas 2 needs it, and the base lacks it"
    assert_predicts(image, "sklearn-churn", runner, tmp_path)
    given = {"base_image": on_15_4.base.location}
    digest = install_whole(changed_on_15_4, given, on_15_4.environment, tmp_path / "whole")
    record = ImageRecord.from_labels(image.labels)
    assert record is not None
    assert record.lock_digest == digest
    assert in_container(image, tmp_path) == states(tmp_path / "whole" / PREFIX)


def in_container(image: Image, folder: Path) -> Tree:
    """List the environment in a running container, with its own Python."""
    client = docker.from_env()
    try:
        client.containers.run(
            str(image.config_descriptor.digest),
            ["-I", "-B", "-c", _STATES, f"/{PREFIX}", "/out/states.json"],
            entrypoint=f"/{PREFIX}/bin/python",
            volumes={str(folder): {"bind": "/out", "mode": "rw"}},
            network_mode="none",
            remove=True,
        )
    finally:
        client.close()
    listed = json.loads((folder / "states.json").read_text())
    return {path: (kind, mode, value) for path, (kind, mode, value) in listed.items()}


#: What MLflow 1.13.1 needs, and the list of 7.6 ML lacks, or its conda package has no metadata of.
LACKING = {
    "alembic",
    "prometheus-client",
    "prometheus-flask-exporter",
    "pycparser",
    "python-editor",
    "sqlalchemy",
}


@pytest.mark.engine
def test_a_model_of_2021_lands_on_7_6_ml_and_scores(
    golden_7_6_ml: MadeBase, models, shared_cache_dir: Path, runner: EngineRunner, tmp_path: Path
) -> None:
    site = site_of(golden_7_6_ml, tmp_path, shared_cache_dir)
    del site.environment["DBIMAGE_INDEX_URL"]  # the mirror has what the list names, which is not all that it needs
    receipt = site.build("old", models("mlflow-1-13"))
    record, image = receipt["record"], site.image("old")
    assert (record["env_layout"], record["python"]) == ("overlay", "3.7.10")
    assert record["environment_prefix"] == "/databricks/conda/envs/databricks-ml"
    assert_predicts(image, "mlflow-1-13", runner, tmp_path)
    assert {canonicalize_name(title.split()[0]) for title in laid_over(image)} == LACKING
