"""Images over golden bases: what is laid over, that it is exactly the lock's environment, and what is refused."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, error_of, greeting_wheel, light_model, tiny_base
from mlflow_dbimage import pipeline
from mlflow_dbimage.backends import default_tools
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import BuildReceipt, ImageRecord
from mlflow_dbimage.build_request import BuildRequest
from mlflow_dbimage.locking.environment_solver import CondaBackend, CondaRequest, CondaSolution
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image, RunConfig, append
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.rootfs import rootfs_image
from mlflow_dbimage.oci.validate import problems
from mlflow_dbimage.pipeline import Tools
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.settings_sources import Surroundings
from mlflow_dbimage.whiteout_check import remains
from oci_samples import LINUX
from sample_models.channel import interpreters
from toy_wheels import make_wheel
from whole_environment import Tree, install_whole, states, unpack_all

pytestmark = [pytest.mark.slow, pytest.mark.channel]

PYTHON = platform.python_version()
MINOR = ".".join(PYTHON.split(".")[:2])
SITE = f"lib/python{MINOR}/site-packages"
PREFIX = "opt/dbimage/env"
TAG = f"cpython-{MINOR.replace('.', '')}"
PIP, REST = ("pip 24.0",), ("setuptools 68.0.0", "small 1.0", "wheel 0.42.0")
BASE_PACKAGES = ("array==1.0", "frame==1.0", "greeting==1.0", "plot==1.0", "small==1.0")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    for version, more in (("1.0", "old"), ("2.0", "new")):
        files = {
            "array/__init__.py": f"version = {version!r}\n".encode(),
            f"array/{more}.py": b"x = 1\n",
            "array/data/only-in-one.bin" if more == "old" else "array/data": b"a folder becomes a file",
        }
        make_wheel(folder, "array", version, files, scripts={f"array-{more}": "array:main"})
        make_wheel(folder, "small", version)
    make_wheel(folder, "frame", "1.0", requires=["array<2"])
    make_wheel(folder, "frame", "2.0", requires=["array"])
    make_wheel(folder, "plot", "1.0", requires=["array<2"])
    make_wheel(folder, "extra", "1.0")
    times = {path.name: "2021-01-01T00:00:00Z" for path in folder.iterdir()}
    with serve(PackageIndex(directory=folder, upload_times=times)) as served:
        yield served


class Site:
    """A bench with a golden base in a layout, and what it built."""

    def __init__(self, folder: Path, channel: str, index: PackageIndex) -> None:
        self.folder = folder
        self.system = tiny_base(folder / "system" / "base.tar")
        self.bench = Bench(
            folder=folder / "bench",
            model=light_model(folder / "model"),
            cache=folder / "cache",
            settings={"DBIMAGE_CHANNEL_MAP": f"conda-forge={channel}", "DBIMAGE_INDEX_URL": index.url},
        )
        self.layout = Layout(self.bench.target)
        self.base = self.golden_base("toy", BASE_PACKAGES)

    def golden_base(self, name: str, wheels: tuple[str, ...], *more: str) -> str:
        """Build a golden base of Python, what it needs, and some wheels; return its location."""
        plan = self.plan(*wheels, base=f"rootfs:{self.system}")
        conda = [f"{each['name']}={each['version']}" for each in plan["packages"] if each["manager"] == "conda"]
        lines = "".join(f"- {line}\n" for line in conda) + "- pip:\n" + "".join(f"  - {line}\n" for line in wheels)
        listed = self.folder / f"{name}.yml"
        listed.write_text(f"name: {name}\nchannels: [conda-forge]\ndependencies:\n{lines}")
        command = ("base", "build", "--from-env", listed, "--system", f"rootfs:{self.system}", "--json", *more)
        done = self.bench.run(*command, "-t", f"oci:{self.folder}/bases")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["reference"])

    def plan(self, *lines: str, base: str | None = None, **keys: str) -> dict[str, Any]:
        return self._run(("plan",), "planned", lines, {"base_image": base or self.base, **keys})

    def build(self, name: str, *lines: str, base: str | None = None, **keys: str) -> dict[str, Any]:
        """Deploy a model with further pip lines, and return the receipt."""
        return self._run(("build", "--name", name), name, lines, {"base_image": base or self.base, **keys})

    def _run(self, command: tuple[str, ...], name: str, lines: tuple[str, ...], keys: dict[str, str]) -> Any:
        done = self._ran(command, name, lines, keys)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def fails(self, *lines: str, base: str | None = None, **keys: str) -> tuple[int, str, str, str]:
        return error_of(self._ran(("plan",), "failing", lines, {"base_image": base or self.base, **keys}))

    def _ran(self, command: tuple[str, ...], name: str, lines: tuple[str, ...], keys: dict[str, str]) -> Any:
        shutil.rmtree(self.folder / "models" / name, ignore_errors=True)
        model = light_model(self.folder / "models" / name, *lines)
        options = [word for key, value in keys.items() for word in ("-C", f"{key}={value}")]
        return self.bench.run(*command, model, "--json", *options)

    def image(self, name: str) -> Image:
        return self.layout.image(name, Platform("linux", "amd64"))

    def record(self, name: str) -> ImageRecord:
        record = ImageRecord.from_labels(self.image(name).labels)
        assert record is not None
        return record

    def build_here(self, name: str, base: str, change: Callable[[Tools], Tools], *lines: str) -> BuildReceipt:
        """Build in this process, with other tools."""
        model = light_model(self.folder / "models" / name, *lines)
        folder = self.bench.folder
        surroundings = Surroundings(
            environment=self.bench.environment, directory=folder, user_file=folder / "none.toml"
        )
        request = BuildRequest.from_strings(name, str(model), {"base_image": base}, surroundings=surroundings)
        return pipeline.build(request, change(default_tools(request.settings, SilentProgress())))

    def root(self, name: str) -> Path:
        """Return the root of an image's file system, unpacked from all its layers."""
        root = self.folder / "roots" / str(self.image(name).digest.hex)
        if not root.exists():
            unpack_all(self.image(name).layers, root)
        return root

    def whole(self, name: str, base: str | None = None) -> tuple[str, Tree]:
        """Install the lock of a model that was built on the base whole, without it."""
        root = self.folder / "whole" / name
        given = {"base_image": base or self.base}
        digest = install_whole(self.folder / "models" / name, given, self.bench.environment, root)
        return digest, states(root / PREFIX)

    def python(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python of an image."""
        program = self.root(name) / PREFIX / "bin" / "python"
        return subprocess.run([program, "-I", "-B", *arguments], capture_output=True, text=True, check=False)

    def distributions(self, name: str) -> list[str]:
        script = (
            "import importlib.metadata as m; "
            "print(*sorted(f'{d.metadata[\"Name\"]} {d.version}' for d in m.distributions()), sep='\\n')"
        )
        return self.python(name, "-c", script).stdout.splitlines()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, conda_channel, index: PackageIndex) -> Site:
    return Site(tmp_path_factory.mktemp("site"), conda_channel.url, index)


def kinds(record: ImageRecord) -> list[str]:
    return [layer.kind for layer in record.layers]


def test_a_model_of_the_bases_packages_adds_its_own_files_alone(site: Site) -> None:
    receipt = site.build("same", "array", "frame")
    record = site.record("same")
    assert (record.env_layout, record.environment_prefix, record.bytecode) == ("overlay", f"/{PREFIX}", "all")
    assert kinds(record) == ["environment", "scoring", "model"]
    assert record.layers[0].contents == (), "the lock's files"
    assert receipt["added_size"] < 60_000, "scoring code and model"
    assert site.distributions("same") == ["array 1.0", "frame 1.0", "greeting 1.0", *PIP, "plot 1.0", *REST]


def test_what_is_laid_over_is_the_lock_installed_whole(site: Site) -> None:
    receipt = site.build("changed", "array==2.0", "frame", "extra")
    record = site.record("changed")
    assert kinds(record) == ["whiteouts", "environment", "environment", "scoring", "model"]
    assert record.layers[1].contents == ("array 2.0", "extra 1.0", "frame 2.0")
    assert problems(site.image("changed"), from_layer=record.base_layers) == ()
    digest, whole = site.whole("changed")
    assert digest == record.lock_digest
    assert states(site.root("changed") / PREFIX) == whole
    assert f"{SITE}/array/__pycache__/old.{TAG}.pyc" not in whole
    assert whole[f"{SITE}/array/data"][0] == "file", "where the base has a folder"
    assert site.distributions("changed") == [
        "array 2.0",
        "extra 1.0",
        "frame 2.0",
        "greeting 1.0",
        *PIP,
        "plot 1.0",
        *REST,
    ]
    assert not (site.root("changed") / PREFIX / "bin" / "array-old").exists()
    left = "the base's plot 1.0 needs `array<2`, and the model has 2.0: it stays as it is, and may not work"
    assert receipt["notes"] == [left]
    assert site.python("changed", "-m", "pip", "check").stdout == (
        "plot 1.0 has requirement array<2, but you have array 2.0.\n"
    ), "as the lock has it"


def test_a_whiteout_that_is_missing_is_found(site: Site, tmp_path: Path) -> None:
    site.build("hidden", "array==2.0", "frame", "extra")
    image, record, cache = site.image("hidden"), site.record("hidden"), BuildCache(tmp_path)
    assert remains(image, record, cache) == ()
    first = record.base_layers
    bare = replace(image, layers=image.layers[:first] + image.layers[first + 1 :])
    left = remains(bare, replace(record, layers=record.layers[1:]), cache)
    beside = f"`/{PREFIX}/{SITE}/array-1.0.dist-info/RECORD` of the base is visible beside "
    assert [line for line in left if line.startswith(beside)]


@pytest.mark.peers
def test_an_independent_program_unpacks_it_to_the_same(site: Site, tmp_path: Path) -> None:
    site.build("unpacked", "array==2.0", "frame")
    image, bundle = f"{site.bench.target}:unpacked", tmp_path / "bundle"
    subprocess.run(["umoci", "unpack", "--image", image, bundle], capture_output=True, check=True)
    assert states(bundle / "rootfs" / PREFIX) == site.whole("unpacked")[1]


def test_a_new_version_of_the_model_reuses_what_is_laid_over(site: Site) -> None:
    site.build("before", "small==2.0")
    receipt = site.build("after", "small == 2.0")
    assert receipt["environment_reused"]
    layers = [layer.digest for layer in site.record("before").layers]
    assert [layer["digest"] for layer in receipt["record"]["layers"]][:-1] == layers[:-1]


def test_the_plan_says_what_is_kept_and_what_changes(site: Site) -> None:
    told = site.plan("array==2.0", "frame", "extra")
    plan = told["environment"]
    assert sum(layer["packages"] for layer in told["layers"]) == 3
    assert (plan["kind"], plan["prefix"]) == ("overlay", f"/{PREFIX}")
    assert [(each["name"], each["from"], each["to"]) for each in plan["changed"]] == [
        ("array", "1.0", "2.0"),
        ("frame", "1.0", "2.0"),
    ]
    assert ([each["name"] for each in plan["added"]], plan["gone"]) == (["extra"], [])
    assert plan["kept"] > 10
    text = site.bench.run("plan", site.folder / "models" / "planned", "-C", f"base_image={site.base}").stdout
    assert f"overlay at /{PREFIX}: {plan['kept']} of the base kept, 2 changed, 1 added, 0 gone; " in text
    assert "array    1.0          2.0" in text


def test_isolated_on_a_golden_base_is_as_on_any_other(site: Site) -> None:
    site.build("alone", "small==2.0", env_layout="isolated", bytecode="all")
    site.build("plain", "small==2.0", env_layout="isolated", bytecode="all", base=f"rootfs:{site.system}")
    record = site.record("alone")
    assert (record.env_layout, kinds(record)[0]) == ("isolated", "whiteouts")
    assert record.layers[1:] == site.record("plain").layers, "what hides the base's is a layer of its own"
    assert states(site.root("alone") / PREFIX) == states(site.root("plain") / PREFIX)


def test_a_base_without_byte_code_gets_none(site: Site) -> None:
    base = site.golden_base("sources", BASE_PACKAGES, "-C", "bytecode=none")
    site.build("uncompiled", "small==2.0", base=base)
    assert site.record("uncompiled").bytecode == "none"
    assert not [path for path in states(site.root("uncompiled") / PREFIX) if path.endswith(".pyc")]


def test_an_environment_elsewhere_is_found_by_a_link(site: Site) -> None:
    base = site.golden_base("elsewhere", BASE_PACKAGES, "--prefix", "/databricks/conda/envs/ml")
    site.build("linked", "small==2.0", base=base)
    root = site.root("linked")
    assert site.record("linked").environment_prefix == "/databricks/conda/envs/ml"
    assert (root / PREFIX).resolve() == (root / "databricks/conda/envs/ml").resolve()
    assert "small 2.0" in site.distributions("linked")


# Bases that are not as they should be


@pytest.fixture(scope="module")
def unfit(site: Site) -> dict[str, str]:
    """Bases over which nothing can be laid, by what is wrong with them."""
    whole = Layout(site.folder / "bases").image("base-toy", LINUX)
    squashed = site.folder / "squashed"
    unpack_all(whole.layers, squashed / "root")
    with tarfile.open(squashed / "root.tar", "w") as archive:
        archive.add(squashed / "root", "")
    image = rootfs_image(squashed / "root.tar", LINUX, squashed, Compression.GZIP)
    layout = Layout(squashed / "images")
    image = append(image, [], RunConfig(labels=whole.labels))
    layout.write_image(image)
    layout.set_tags({"v1": image.descriptor})
    found = {"no golden base": f"rootfs:{site.system}", "without its inventory": f"oci:{squashed}/images:v1"}
    others = [each for each in interpreters.find() if each.minor != MINOR]
    if not others:
        return found
    listed = site.folder / "other.yml"
    listed.write_text(f"name: other\nchannels: [conda-forge]\ndependencies:\n- python={others[-1].version}\n")
    command = ("base", "build", "--from-env", listed, "--system", f"rootfs:{site.system}", "--json")
    done = site.bench.run(*command, "-t", f"oci:{site.folder}/bases")
    assert done.returncode == 0, done.stderr
    return {**found, "another Python": str(json.loads(done.stdout)["reference"])}


@pytest.mark.parametrize(
    ("fault", "exit_code", "code", "says", "by_itself"),
    [
        ("no golden base", 4, "layout-impossible", "it is no golden base", "isolated"),
        ("another Python", 4, "layout-impossible", f", and the model needs {MINOR}", "isolated"),
        ("without its inventory", 3, "base-invalid", "lacks the inventory that its record names", None),
    ],
)
def test_a_fault_of_a_base_is_told(
    site: Site, unfit: dict[str, str], fault: str, exit_code: int, code: str, says: str, by_itself: str | None
) -> None:
    if fault not in unfit:
        pytest.skip("this machine has no other Python")
    found = site.fails(base=unfit[fault], env_layout="overlay")
    assert found[:2] == (exit_code, code)
    assert says in found[2]
    if by_itself is None:
        assert site.fails(base=unfit[fault])[:2] == (exit_code, code)
    else:
        assert site.plan(base=unfit[fault])["environment"]["kind"] == by_itself


def test_a_base_that_moves_while_an_image_is_built_is_the_one_that_was_planned(site: Site) -> None:
    bases = Layout(site.folder / "bases")
    site.golden_base("sources", BASE_PACKAGES, "-C", "bytecode=none")
    first, second = bases.tags()["base-toy"], bases.tags()["base-sources"]
    bases.set_tags({"moving": first})

    class MovingSolver:
        """Moves the tag of the base as soon as the base has been opened."""

        def __init__(self, conda: CondaBackend) -> None:
            self._conda = conda

        def __getattr__(self, name: str) -> Any:
            return getattr(self._conda, name)

        def solve(self, request: CondaRequest) -> CondaSolution:
            bases.set_tags({"moving": second})
            return self._conda.solve(request)

    def moving(tools: Tools) -> Tools:
        conda = cast(CondaBackend, MovingSolver(tools.solver.conda))
        return replace(tools, solver=replace(tools.solver, conda=conda))

    receipt = site.build_here("moved", f"oci:{site.folder}/bases:moving", moving, "small>1.0")
    assert bases.tags()["moving"].digest == second.digest
    assert receipt.record.base_digest == str(first.digest)
    planned = bases.image(first.digest).layers
    assert [layer.diff_id for layer in site.image("moved").layers[: len(planned)]] == [
        layer.diff_id for layer in planned
    ]


def test_an_overlay_is_built_again_with_the_same_digest(site: Site, tmp_path: Path) -> None:
    receipt = site.build("again", "array==2.0", "extra==1.0")
    keys = ("-C", f"base_image={site.base}")
    done = site.bench.run("reproduce", "again", "--json", *keys, DBIMAGE_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["rebuilt"] == receipt["digest"]
    assert site.record("again").env_layout == "overlay"
