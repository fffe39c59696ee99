"""A model in the cluster's own Python: what is laid, what an import finds in the container, and what is refused.

The base is Debian with the packages of Databricks' image for 15.4 LTS; the model is the scikit-learn sample, whose
pins are years newer, so that much has to change.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import docker
import pandas
import pytest

import sample_models
from light_build import DBIMAGE, error_of
from plain_model import write_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.base,
    pytest.mark.channel,
    pytest.mark.engine,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="samples have this Python, and the base has 3.11"),
]

SAMPLE = "sklearn-churn"
PYTHON = "/databricks/python3/bin/python"
MLMODEL = """\
flavors:
  python_function:
    env:
      conda: conda.yaml
    loader_module: nothing.here
    python_version: {python}
mlflow_version: 3.1.0
utc_time_created: '2026-11-01 00:00:00.000000'
"""

# Run by the container's Python: what its import system finds, and which recorded files are not there.
LOOK = """
import collections, importlib.metadata as metadata, json, pathlib
site = pathlib.Path("/databricks/python3/lib/python3.11/site-packages")
found = list(metadata.distributions(path=[str(site)]))
count = collections.Counter(each.name.lower() for each in found)
files = {pathlib.Path(each.locate_file(file)).resolve() for each in found for file in each.files}
sources = lambda path: (path.parent.parent / (path.name.split(".")[0] + ".py")).exists()
print(json.dumps({
    "versions": {each.name.lower(): metadata.version(each.name) for each in metadata.distributions()},
    "twice": [name for name in count if count[name] > 1],
    "lost": [str(path) for path in files if not path.exists()],
    "stray": [str(path) for path in site.rglob("*.py") if path.resolve() not in files],
    "orphans": [str(path) for path in site.rglob("__pycache__/*.pyc") if not sources(path)],
    "empty": [str(path) for path in site.rglob("*") if path.is_dir() and not any(path.iterdir())
              and path.suffix != ".libs"],  # some wheels have such folders
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where images for clusters are built and run."""

    environment: dict[str, str]
    client: docker.DockerClient

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*DBIMAGE, *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def build(self, model: Path, name: str, layout: str, verify: str = "none") -> dict[str, Any]:
        keys = ("-C", f"env_layout={layout}", "-C", f"verify={verify}")
        done = self.run("build", model, "--name", name, "-t", "docker-daemon:", *keys, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def container(self, receipt: dict[str, Any], program: str, *arguments: str, folder: Path | None = None) -> str:
        """Run a program in a container of an image, and return what it writes."""
        volumes = {str(folder): {"bind": "/data", "mode": "rw"}} if folder else {}
        output = self.client.containers.run(
            receipt["reference"],
            list(arguments),
            entrypoint=[program],
            volumes=volumes,
            network_mode="none",
            remove=True,
            stderr=True,
        )
        return output.decode()


@pytest.fixture(scope="module")
def cluster(
    conda_channel, cluster_rootfs: Path, shared_cache_dir: Path, engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    environment = {
        **os.environ,
        "DOCKER_HOST": engine.host,
        "DBIMAGE_BASE_IMAGE": f"rootfs:{cluster_rootfs}",
        "DBIMAGE_CACHE_DIR": str(shared_cache_dir),
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={conda_channel.url},defaults={conda_channel.url}",
        "XDG_DATA_HOME": str(tmp_path_factory.mktemp("data")),
    }
    client = docker.DockerClient(base_url=engine.host)
    try:
        yield Cluster(environment=environment, client=client)
    finally:
        client.close()


@pytest.fixture(scope="module")
def receipt(cluster: Cluster, models, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The sample in the cluster's Python, proven there; of `mlflow` it asks for the part that it needs."""
    model = tmp_path_factory.mktemp("sample") / "model"
    shutil.copytree(models(SAMPLE), model)
    text = (model / "conda.yaml").read_text()
    (model / "conda.yaml").write_text(text.replace("- mlflow==", "- mlflow-skinny=="))
    return cluster.build(model, "in-cluster", "cluster", verify="engine")


@pytest.fixture(scope="module")
def beside(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model beside the cluster's Python, which is thus the base's."""
    model = a_model(tmp_path_factory.mktemp("beside") / "model", "- pip")
    return cluster.build(model, "beside", "isolated")


def a_model(directory: Path, *lines: str, python: str = "3.11.7") -> Path:
    """Write a model with these lines of conda.yaml."""
    text = "".join(f"{line}\n" for line in ("dependencies:", f"- python={python}", *lines))
    return write_model(directory, MLMODEL.format(python=python), conda_DOT_yaml=text, python_model_DOT_pkl=None)


def test_the_container_predicts_what_plain_mlflow_predicts(
    cluster: Cluster, receipt: dict[str, Any], tmp_path: Path
) -> None:
    rows = next(sample_models.folder(SAMPLE).glob("input.*"))
    (tmp_path / rows.name).write_bytes(rows.read_bytes())
    cluster.container(
        receipt,
        "/opt/dbimage/bin/score",
        "--input",
        f"/data/{rows.name}",
        "--output",
        "/data/out.csv",
        folder=tmp_path,
    )
    expected = pandas.read_csv(sample_models.folder(SAMPLE) / "expected.csv")
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "out.csv"), expected, rtol=1e-6)


def test_it_was_proven_in_the_engine(receipt: dict[str, Any]) -> None:
    report = receipt["verification"]
    outcomes = {check["name"]: check["outcome"] for check in report["checks"]}
    assert (report["how"], report["cause"]) == ("engine", None)
    assert {outcomes[name] for name in ("layers", "whiteouts", "scripts", "load", "predict")} == {"passed"}


def test_an_import_finds_one_version_of_each_distribution_and_nothing_of_what_was_replaced(
    cluster: Cluster, receipt: dict[str, Any]
) -> None:
    found = json.loads(cluster.container(receipt, PYTHON, "-c", LOOK))
    pins = {name: version(name) for name in ("cloudpickle", "numpy", "mlflow-skinny", "scikit-learn", "scipy")}
    kept = {"ipykernel": "6.25.1", "ipython": "8.15.0", "protobuf": "4.24.1", "six": "1.16.0"}
    assert found["versions"].items() >= (pins | kept).items()
    assert {key: each for key, each in found.items() if key != "versions" and each} == {}


def test_pip_finds_nothing_wrong_that_was_not_so_in_the_base(
    cluster: Cluster, receipt: dict[str, Any], beside: dict[str, Any]
) -> None:
    def findings(image: dict[str, Any]) -> set[str]:
        return set(cluster.container(image, "/bin/sh", "-c", f"{PYTHON} -m pip check || true").splitlines())

    before, after = findings(beside), findings(receipt)
    assert before
    assert all("require" in line for line in before | after)
    assert after <= before


def test_scripts_and_byte_code_are_the_containers_own(cluster: Cluster, receipt: dict[str, Any]) -> None:
    said = cluster.container(receipt, "/databricks/python3/bin/mlflow", "--version")
    assert said.strip().endswith(version("mlflow-skinny"))
    loaded = "import sys, numpy; print(numpy.__cached__); assert not sys.flags.dont_write_bytecode"
    cached = cluster.container(receipt, PYTHON, "-v", "-c", loaded)
    assert "code object from '/databricks/python3/lib/python3.11/site-packages/numpy/__pycache__" in cached


def test_the_image_says_where_its_environment_is(cluster: Cluster, receipt: dict[str, Any]) -> None:
    record = receipt["record"]
    assert (record["env_layout"], record["environment_prefix"]) == ("cluster", "/databricks/python3")
    assert record["bytecode"] == "all"
    kinds = [layer["kind"] for layer in record["layers"]]
    assert kinds[0] == "whiteouts"
    assert kinds[-3:] == ["launcher", "scoring", "model"]
    assert "conda-explicit.txt" not in cluster.container(receipt, "/bin/ls", "/opt/dbimage/lock")


@pytest.mark.parametrize("where", ["receipt", "beside"])
def test_a_job_starts_the_scoring_program_through_the_launcher(
    cluster: Cluster, where: str, request: pytest.FixtureRequest
) -> None:
    image = request.getfixturevalue(where)
    start = (
        "from importlib.metadata import distribution; (point,) = distribution('dbimage_launcher').entry_points;"
        " point.load()(['--help'])"
    )
    assert "--output" in cluster.container(image, PYTHON, "-c", start)


def test_what_a_notebooks_kernel_needs_still_loads(cluster: Cluster, receipt: dict[str, Any]) -> None:
    loaded = "import IPython, ipykernel.kernelapp, databricks.sdk, seaborn; print(IPython.__version__)"
    assert cluster.container(receipt, PYTHON, "-c", loaded).splitlines()[-1] == "8.15.0"


@pytest.mark.parametrize(
    ("lines", "python", "why"),
    [
        (("- lightgbm=4.0",), "3.11.7", "`lightgbm=4.0` (conda.yaml: dependencies[1]) is a conda package"),
        (
            ("- numpy=1.26",),
            "3.11.7",
            "`numpy=1.26` (conda.yaml: dependencies[1]) is a conda package, and the base has",
        ),
        ((), "3.10.4", "it needs Python 3.10, and the base has 3.11"),
        (("- pip:", "  - ipython>=9"), "3.11.7", "ipython would change from 8.15.0 to 9."),
        (("- pip:", "  - protobuf>=5"), "3.11.7", "protobuf would change from 4.24.1 to"),
        (("- pip:", "  - torch==1.13.1+cu117"), "3.11.7", "torch==1.13.1+cu117"),
    ],
)
def test_what_does_not_fit_the_clusters_python_is_refused(
    cluster: Cluster, lines: tuple[str, ...], python: str, why: str, tmp_path: Path
) -> None:
    model = a_model(tmp_path / "model", *lines, python=python)
    done = cluster.run("plan", model, "-C", "env_layout=cluster", "--json")
    code, name, message, hint = error_of(done)
    assert code == 4
    assert why in message
    if "+cu117" in why:
        assert name == "package-not-found"
        assert "`+cu117`" in hint
    else:
        assert name == "layout-impossible"
        assert "isolated" in hint


def test_a_model_whose_packages_the_base_has_adds_none(cluster: Cluster, tmp_path: Path) -> None:
    lines = ("- pip", "- numpy=1.23", "- pip:", "  - pandas>=1.5", "  - scikit-learn==1.3.0", "  - pyspark==3.5.0")
    done = cluster.run("plan", a_model(tmp_path / "model", *lines), "-C", "env_layout=cluster", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["environment"]["changed"], plan["environment"]["added"], plan["packages"]) == ([], [], [])
    assert any(note.startswith("pyspark: from the cluster, it is injected") for note in plan["notes"])


def test_a_base_without_a_clusters_python_is_refused(cluster: Cluster, base_rootfs: Path, tmp_path: Path) -> None:
    model = a_model(tmp_path / "model")
    base = f"base_image=rootfs:{base_rootfs}"
    code, name, message, _ = error_of(cluster.run("plan", model, "-C", "env_layout=cluster", "-C", base, "--json"))
    assert (code, name) == (4, "layout-impossible")
    assert "it has no `/databricks/python3`" in message
