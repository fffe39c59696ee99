"""The catalogue: every data file is whole, keys are found however they are written, sites add their own."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from mlflow_dbimage import safe_yaml
from mlflow_dbimage.errors import InputError, MatchError
from mlflow_dbimage.image_location import DOCKER_HUB, parse_base
from mlflow_dbimage.runtimes import Catalogue

DATA = Path(str(files("mlflow_dbimage.runtimes") / "data"))
RUNTIMES = sorted((DATA / "runtimes").iterdir())
IMAGES = sorted((DATA / "dcs-images").iterdir())

NORMAL_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_every_runtime_is_there(catalogue: Catalogue) -> None:
    assert len(RUNTIMES) == 43
    assert sorted(catalogue.keys()) == sorted(path.stem for path in RUNTIMES)
    assert catalogue.keys()[0] == "7.3-lts"
    assert catalogue.keys()[-1] == "17.3-lts-ml-gpu"


@pytest.mark.parametrize("key", [path.stem for path in RUNTIMES])
def test_every_file_of_a_runtime_is_whole(catalogue: Catalogue, key: str) -> None:
    runtime = catalogue.get(key)
    assert runtime.key == key
    assert runtime.name.startswith("Databricks Runtime ")
    assert re.fullmatch(r"3\.\d+(\.\d+)?", runtime.python)
    assert runtime.python.startswith(runtime.python_minor)
    assert runtime.glibc in ("2.27", "2.31", "2.35", "2.39")
    assert runtime.java in ("8", "17")
    assert re.fullmatch(r"[34]\.\d\.\d", runtime.spark)
    assert catalogue.get(runtime.spark_version_string) is runtime
    assert runtime.is_ml == ("-ml" in key)
    assert runtime.dcs_supported is not runtime.is_ml
    assert len(runtime.packages) >= 25
    assert all(NORMAL_NAME.fullmatch(name) and version for name, version in runtime.packages.items())
    assert date(2020, 12, 1) <= runtime.as_of <= date(2026, 6, 8)
    assert runtime.sources
    assert re.match(r"2\.1[23]", runtime.scala)
    assert runtime.release_date is None or runtime.release_date <= runtime.as_of
    if runtime.is_ml:
        assert runtime.dcs_image is None
        assert runtime.mlflow is not None
    if "-lts" in key:
        assert runtime.end_of_support is not None
    if runtime.dcs_image is not None:
        assert parse_base(runtime.dcs_image).host == DOCKER_HUB


@pytest.mark.parametrize("key", [path.stem for path in IMAGES])
def test_every_file_of_a_container_image_is_whole(catalogue: Catalogue, key: str) -> None:
    image = catalogue.dcs_image(key)
    assert image is not None
    assert image.key == key
    assert set(image.bootstrap) >= {"python", "pip", "setuptools", "wheel", "virtualenv"}
    assert image.python.startswith(image.bootstrap["python"])
    assert image.python_env.startswith("/databricks/python3")
    assert "databricks/containers at " in image.source
    assert date(2024, 11, 12) <= image.as_of <= date(2026, 6, 8)
    assert len(image.packages) >= 25


def test_a_container_image_is_found_by_its_runtime(catalogue: Catalogue) -> None:
    image = catalogue.dcs_image("15.4.x-cpu-ml-scala2.12")
    assert image is not None
    assert (image.key, image.bootstrap["virtualenv"]) == ("15.4-lts", "20.24.2")
    assert catalogue.dcs_image("7.6-ml") is None
    with pytest.raises(MatchError):
        catalogue.dcs_image("15.5")
    with pytest.raises(TypeError):
        image.bootstrap["pip"] = "1"  # type: ignore[index]


def test_the_runtimes_made_of_conda_have_their_list(catalogue: Catalogue) -> None:
    assert list(filter(catalogue.conda_list, catalogue.keys())) == ["7.3-lts-ml", "7.6-ml"]
    data = catalogue.conda_list("7.6.x-cpu-ml-scala2.12")
    assert data == (DATA / "conda" / "7.6-ml-conda.yml").read_bytes()


@pytest.mark.parametrize("key", ["7.3-lts-ml", "7.6-ml"])
def test_a_conda_list_has_the_versions_of_its_runtime(catalogue: Catalogue, key: str) -> None:
    data = safe_yaml.load(catalogue.conda_list(key) or b"")
    assert isinstance(data, dict)
    pairs = [line.split("=")[:2] for line in data["dependencies"] if isinstance(line, str)]
    pairs += [line.split("==") for line in data["dependencies"][-1]["pip"]]
    listed = {name.replace("_", "-"): version for name, version in pairs}
    packages = catalogue.get(key).packages
    both = packages.keys() & listed
    assert {name: packages[name] for name in both} == {name: listed[name] for name in both}
    assert len(both) > 100
    # Named otherwise on PyPI, or not of conda.
    assert set(packages) - both == {"hyperopt", "matplotlib", "sparkdl", "torch"}


def test_every_container_image_is_there() -> None:
    assert len(IMAGES) == 10


def test_the_list_that_the_project_starts_from_is_whole() -> None:
    data = safe_yaml.load((DATA / "conda" / "7.6-ml-conda.yml").read_bytes())
    assert isinstance(data, dict)
    *conda, last = data["dependencies"]
    assert len(conda) + len(last["pip"]) == 180
    assert data["name"] == "databricks-ml"
    assert data["prefix"] == "/databricks/conda/envs/databricks-ml"
    assert all(re.fullmatch(r"[^=]+=[^=]+=[^=]+", line) for line in conda)
    assert all(re.fullmatch(r"[^=]+==[^=]+", line) for line in last["pip"])


def test_a_runtime_is_known_by_its_facts(catalogue: Catalogue) -> None:
    runtime = catalogue.get("15.4-lts-ml")
    assert (runtime.python, runtime.python_minor, runtime.glibc, runtime.java) == ("3.11.11", "3.11", "2.35", "8")
    assert runtime.packages["absl-py"] == "1.0.0"
    assert runtime.mlflow == "2.19.0"
    assert runtime.supported_on(date(2027, 8, 19))
    assert not runtime.supported_on(date(2027, 8, 20))
    # Remarks beside a value are not the value.
    assert catalogue.get("7.6-ml").python == "3.7.10"
    assert catalogue.get("7.6-ml").end_of_support == date(2021, 8, 8)
    assert catalogue.get("7.6").dcs_image is None
    assert catalogue.get("9.1-lts").os == "Ubuntu 20.04"
    assert catalogue.get("15.4-lts").dcs_image == "databricksruntime/standard:15.4-LTS"
    assert not catalogue.get("17.1").supported_on(date(2026, 2, 2))
    assert not catalogue.get("14.2").supported_on(date(2020, 1, 1))  # its end is not known


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("15.4-lts", "15.4-lts"),
        ("15.4-LTS", "15.4-lts"),
        ("15.4", "15.4-lts"),
        ("15.4.x-scala2.12", "15.4-lts"),
        ("15.4.x-photon-scala2.12", "15.4-lts"),
        ("15.4.x-cpu-ml-scala2.12", "15.4-lts-ml"),
        ("15.4.x-gpu-ml-scala2.12", "15.4-lts-ml-gpu"),
        (" 15.4 LTS ML ", "15.4-lts-ml"),
        ("15.4-ml", "15.4-lts-ml"),
        ("17.1", "17.1"),
        ("17.1-lts", "17.1"),
    ],
)
def test_keys_are_found_as_databricks_writes_them(catalogue: Catalogue, written: str, key: str) -> None:
    assert catalogue.get(written).key == key


@pytest.mark.parametrize(
    "written", ["", "client.4", "client.4-gpu", "15.3", "15.4.x-aarch64-scala2.12", "ml", "15"]
)
def test_what_is_not_there_is_not_found(catalogue: Catalogue, written: str) -> None:
    assert catalogue.find(written) is None


def test_an_unknown_runtime_is_told_with_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(MatchError, match="no runtime") as caught:
        catalogue.get("15.5-lts")
    assert caught.value.code == "unknown-runtime"
    assert "`15.4-lts`" in str(caught.value.hint)
    with pytest.raises(MatchError) as caught:
        catalogue.get("latest")
    assert "`17.3-lts`" in str(caught.value.hint)


def test_a_site_adds_and_replaces_runtimes(tmp_path: Path) -> None:
    text = (DATA / "runtimes" / "15.4-lts.yml").read_text()
    (tmp_path / "15.4-lts.yml").write_text(text.replace("name: Databricks", "name: Our Databricks"))
    (tmp_path / "acme-2026.yml").write_text(text.replace("key: 15.4-lts", "key: acme-2026"))
    (tmp_path / "README.md").write_text("not a runtime")
    catalogue = Catalogue.load(tmp_path)
    assert catalogue.get("15.4.x-scala2.12").name.startswith("Our Databricks")
    assert catalogue.get("acme-2026").python == "3.11.11"
    assert len(catalogue.runtimes()) == 44


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("key: 15.4-lts", "key: 15.4", "its key is `15.4`"),
        ("spark: '3.5.0'", "sparc: '3.5.0'", "`spark` is missing; `sparc` is no known field"),
        ("os: Ubuntu 22.04.4", "os: Debian 12", "`os` is none of Ubuntu 18.04"),
        ("python: '3.11.11'", "python: new", "`python` does not begin with a version"),
        ("python: '3.11.11'", "python: [3]", "`python` is not a text"),
        ("dcs_supported: true", "dcs_supported: perhaps", "`dcs_supported` is neither true nor false"),
        ("package_count: 135", "package_count: 134", "is 134, and there are 135"),
        ("packages:", "packages: !!python/object:x", "asks for an object"),
        ("packages:", "packages:\n  x: [1]", "`packages` is not a table"),
        ("as_of: '2025-12-09'", "as_of: lately", "`as_of` does not begin with a day such as"),
        ("end_of_support: '2027-08-19'", "end_of_support: '2027-02-30'", "`end_of_support` does not begin with"),
        ("end_of_support: '2027-08-19'", "end_of_support: {a: b}", "`end_of_support` is not a text"),
        ("scala: '2.12.18'", "scala: [2]\nfoo: 1", "`foo` is no known field; `scala` is not a text"),
        ("unverified:", "unverified: all\nchecked:", "`checked` is no known field; `unverified` is no list"),
    ],
)
def test_a_broken_file_of_a_site_is_told_when_it_is_needed(tmp_path: Path, old: str, new: str, why: str) -> None:
    text = (DATA / "runtimes" / "15.4-lts.yml").read_text()
    assert text.count(old) == 1
    (tmp_path / "15.4-lts.yml").write_text(text.replace(old, new))
    catalogue = Catalogue.load(tmp_path)
    assert catalogue.get("16.4-lts").key == "16.4-lts"
    with pytest.raises(InputError) as caught:
        catalogue.get("15.4-lts")
    assert caught.value.code == "bad-config-file"
    assert why in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_a_site_brings_images_and_conda_lists(tmp_path: Path) -> None:
    for folder, name in (("dcs-images", "15.4-lts.yml"), ("conda", "7.6-ml-conda.yml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes((DATA / folder / name).read_bytes() + b"# ours\n")
    (tmp_path / "dcs-images" / "16.4-lts.yml").write_text("key: 16.4-lts\nbootstrap: {python: '3.12'}\n")
    catalogue = Catalogue.load(tmp_path)
    assert (catalogue.conda_list("7.6-ml") or b"").endswith(b"# ours\n")
    assert catalogue.dcs_image("15.4-lts") is not None
    with pytest.raises(
        InputError, match="cannot read the image `16.4-lts` of .*`bootstrap` lacks `pip`"
    ) as caught:
        catalogue.dcs_image("16.4-lts")
    assert caught.value.code == "bad-config-file"
    assert "`name` is missing" in caught.value.message


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("15.4.x-scala2.12.yml", "is another name of `15.4-lts`: to replace that, call it `15.4-lts.yml`"),
        ("15.4.yml", "is another name of `15.4-lts`"),
        ("acme.yaml", "does not end with `.yml`"),
        ("Acme.yml", "is not in lower case"),
        ("dcs-images/acme.yaml", "does not end with `.yml`"),
    ],
)
def test_a_file_that_would_be_passed_over_is_refused(tmp_path: Path, name: str, why: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("key: acme")
    with pytest.raises(InputError) as caught:
        Catalogue.load(tmp_path)
    assert caught.value.code == "bad-config-file"
    assert why in caught.value.message
    assert str(path) in caught.value.message


def test_versions_that_are_not_pep_440_survive(catalogue: Catalogue) -> None:
    assert catalogue.get("7.6-ml").packages["hyperopt"] == "0.2.5.db1"
    assert catalogue.get("7.6-ml").packages["sparkdl"] == "2.1.0-db5"
    assert catalogue.get("12.2-lts-ml-gpu").packages["torch"] == "1.13.1+cu117"


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Catalogue.load(tmp_path / "gone")
    assert caught.value.code == "bad-config-file"


def test_importing_the_catalogue_reads_no_file() -> None:
    program = (
        "import builtins, io, sys\n"
        "import mlflow_dbimage.runtimes\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event == 'open' else None)\n"
        "mlflow_dbimage.runtimes.Catalogue.load().keys()\n"
        "assert not [path for path in seen if path.endswith('.yml')], seen\n"
        "mlflow_dbimage.runtimes.Catalogue.load().get('15.4')\n"
        "assert [path for path in seen if path.endswith('.yml')], seen\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
