"""The acceptance of the main job: every good sample becomes an image that predicts what plain MLflow predicts.

Three ways to the same numbers: `expected.csv`, which plain `mlflow.pyfunc` made on the host (held against it by
`test_sample_models.py`), a container of the image, and the image's layers unpacked without an engine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

import sample_models
from checked_models import self_check
from mlflow_dbimage import image_run, reference_check
from mlflow_dbimage.backends.docker_engine import DockerEngine, EngineRunner
from mlflow_dbimage.backends.unpacked_env import UnpackedRunner
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.check_report import MADE_EXAMPLE, CheckReport
from mlflow_dbimage.image_run import ImageRun, Runner, ScoreRequest
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.validate import problems
from mlflow_dbimage.verification import judge
from sandboxes import sandbox
from services.requirements import python_of

pytestmark = [pytest.mark.slow, pytest.mark.channel, pytest.mark.base]

DBIMAGE = str(Path(sys.executable).with_name("dbimage"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(params=sample_models.names(good=True))
def sample(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def image(sample: str, models, site: Path, images: Path) -> Image:
    """The image of a sample, built once by the real command."""
    if sample == "mlflow-1-13":
        python_of("3.7")
    layout = Layout(images)
    if sample not in layout.tags():
        command = [DBIMAGE, "build", str(models(sample)), "--name", sample, "-t", f"oci:{images}", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        receipt = json.loads(done.stdout)
        assert layout.tags()[sample].digest.hex in receipt["digest"]
    return layout.image(sample)


def input_of(sample: str) -> Path:
    return next(sample_models.folder(sample).glob("input.*"))


def scored(image: Image, sample: str, runner: Runner, folder: Path) -> tuple[ImageRun, pandas.DataFrame]:
    output = folder / "out" / "predictions.csv"
    output.parent.mkdir()
    done = image_run.run(image, ScoreRequest(input=input_of(sample), output=output), runner)
    return done, pandas.read_csv(output)


def expected(sample: str) -> pandas.DataFrame:
    return pandas.read_csv(sample_models.folder(sample) / "expected.csv")


@pytest.mark.engine
def test_the_container_predicts_what_plain_mlflow_predicts(
    image: Image, sample: str, engine_found, tmp_path: Path
) -> None:
    engine = DockerEngine.find()
    assert engine is not None
    done, predictions = scored(image, sample, EngineRunner(engine), tmp_path)
    engine.close()
    assert done.how == "engine"
    assert done.scored == done.rows == len(predictions)
    pandas.testing.assert_frame_equal(predictions, expected(sample), rtol=1e-6)


def test_the_unpacked_layers_predict_what_plain_mlflow_predicts(image: Image, sample: str, tmp_path: Path) -> None:
    done, predictions = scored(image, sample, UnpackedRunner(tmp_path / "runs", sandbox), tmp_path)
    assert done.how == "unpacked"
    pandas.testing.assert_frame_equal(predictions, expected(sample), rtol=1e-6)


def test_the_image_keeps_every_rule_of_its_format(image: Image) -> None:
    assert problems(image, from_layer=int(image.labels["dev.dbimage.base.layers"])) == ()


# To who reads layers, samples are the same that differ in what solving decides: one of them does.
@pytest.mark.peers
@pytest.mark.parametrize(
    "sample", ["sklearn-churn", "lightgbm-price", "big-artifact", "conda-native", "mlflow-1-13"], indirect=True
)
def test_what_independent_programs_unpack_does_what_its_environment_did_before(
    image: Image, sample: str, images: Path, shared_cache_dir: Path, tmp_path: Path
) -> None:
    inspected = subprocess.run(
        ["skopeo", "inspect", f"oci:{images}:{sample}"], capture_output=True, text=True, check=True
    )
    assert json.loads(inspected.stdout)["Digest"] == str(image.digest)
    bundle = tmp_path / "bundle"
    subprocess.run(
        ["umoci", "unpack", "--image", f"{images}:{sample}", str(bundle)], capture_output=True, check=True
    )
    root = bundle / "rootfs" / "opt" / "dbimage"
    assert (root / "bin" / "score").stat().st_mode & 0o111
    assert (root / "model" / "MLmodel").is_file()
    assert {path.name for path in (root / "lock").iterdir()} == {"conda-explicit.txt", "pylock.toml"}
    record = ImageRecord.from_labels(image.labels)
    assert record is not None
    lock, model = Digest.parse(record.lock_digest), Digest.parse(record.model_digest)
    reference = reference_check.find(BuildCache(shared_cache_dir), lock, model)
    # Samples that share an environment have a reference where the environment was made for them.
    assert reference is not None or sample != "sklearn-churn"
    found = CheckReport.from_dict(self_check(root))
    report = judge("packed", found=found, reference=reference)
    assert report.proven, str(report)
    # Samples without an example may refuse rows that mean nothing.
    warned = {check.name for check in report.checks if check.outcome == "warned"}
    assert warned <= ({"predict"} if found.example == MADE_EXAMPLE else set()), str(report)


def test_a_sample_of_python_3_7_runs_on_python_3_7(models, site: Path, images: Path) -> None:
    python_of("3.7")
    layout = Layout(images)
    if "mlflow-1-13" not in layout.tags():
        command = [DBIMAGE, "build", str(models("mlflow-1-13")), "--name", "mlflow-1-13", "-t", f"oci:{images}"]
        subprocess.run(command, capture_output=True, check=True)
    record = json.loads(layout.image("mlflow-1-13").labels["dev.dbimage.record"])
    assert record["python"].startswith("3.7.")
