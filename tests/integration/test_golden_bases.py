"""Golden bases by the real command: small ones for what can go wrong, and those of two runtimes whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import docker
import pytest
import yaml

from fakes.package_index import PackageIndex, serve
from light_build import DBIMAGE, STOPPING, Bench, error_of, greeting_wheel, half_written, halted_at, light_model
from mlflow_dbimage import base_environment
from mlflow_dbimage.backends.docker_engine import DockerEngine
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.image_files import read_files
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.validate import problems
from services.golden_bases import CLONE, PACKAGES_15_4, MadeBase, Mirror
from services.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.channel]

NewBench = Callable[[Path], Bench]
PYTHON = platform.python_version()
LIST = f"""\
name: Ours
channels: [conda-forge]
dependencies:
- python={PYTHON}
- pip:
  - greeting==1.0
"""
CANARY = "canary-mirror-91c7"


# Small bases


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    with serve(PackageIndex(directory=folder, password=CANARY)) as index:
        yield index


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold what all builds here have in common: a list, and a system with accounts and a cluster's Python."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "ours.yml").write_text(LIST)
    light_model(folder / "model")
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6").resolve()
    contents = {
        "etc/os-release": b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Tiny"\n',
        "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
        "etc/group": b"root:x:0:\n",
        "etc/shadow": b"root:*:19000:0:99999:7:::\n",
        "lib/x86_64-linux-gnu/libc.so.6": libc.read_bytes(),
    }
    with tarfile.open(folder / "system.tar", "w") as archive:
        for name in (
            "databricks",
            "databricks/python3",
            "databricks/python3/lib",
            "databricks/python3/lib/python3.11",
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o640 if name == "etc/shadow" else 0o644
            archive.addfile(member, io.BytesIO(data))
    return folder


@pytest.fixture(scope="module")
def new_bench(conda_channel, index: PackageIndex, place: Path) -> NewBench:
    settings = {
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={conda_channel.url}",
        "DBIMAGE_INDEX_URL": index.url_with_password,
    }
    return lambda folder: Bench(folder=folder, model=place / "model", cache=folder / "cache", settings=settings)


@pytest.fixture(scope="module")
def warm(new_bench: NewBench, place: Path) -> Bench:
    """A bench on which the base is built."""
    bench = new_bench(place / "warm")
    built(bench, place)
    return bench


@pytest.fixture(scope="module")
def image(warm: Bench) -> Image:
    return Layout(warm.target).image("base-ours")


def build(bench: Bench, place: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    options = ("--from-env", place / "ours.yml", "--system", f"rootfs:{place / 'system.tar'}", "--json")
    return bench.run("base", "build", *options, *arguments, **variables)


def built(bench: Bench, place: Path, *arguments: object, **variables: str) -> dict[str, object]:
    done = build(bench, place, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def listed(bench: Bench, *arguments: object, **variables: str) -> list[dict[str, object]]:
    done = bench.run("base", "list", "--json", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def refused(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    exit_code, code, message, _ = error_of(done)
    return exit_code, code, message


def test_it_has_what_databricks_asks_of_an_image(image: Image, place: Path) -> None:
    assert image.environment.items() >= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}.items()
    assert "DATABRICKS_ROOT_CONDA_ENV" not in image.environment
    found = read_files(image, ["etc/passwd", "etc/shadow", "databricks/python3/lib/python3.11/site-packages"])
    assert found["etc/passwd"].data.endswith(b"libraries:x:1000:1000::/home/libraries:/bin/sh\n")
    assert b"libraries:!:" in found["etc/shadow"].data
    assert found["etc/shadow"].mode == 0o640
    launcher = "databricks/python3/lib/python3.11/site-packages/dbimage_launcher.py"
    assert launcher in read_files(image, [launcher])
    assert problems(image, from_layer=1) == ()
    kinds = [layer["kind"] for layer in json.loads(image.labels["dev.dbimage.base"])["layers"]]
    assert kinds[-3:] == ["accounts", "launcher", "inventory"]
    held = base_environment.read(image)
    assert held is not None
    assert [wheel.name for wheel in held.locked.wheels] == ["greeting"]
    assert any(path.endswith("site-packages/greeting/__pycache__/loader.cpython-311.pyc") for path in held.files)


def test_bases_are_listed_apart_from_deployments(warm: Bench) -> None:
    (base,) = listed(warm)
    assert base["name"] == "ours"
    assert (base["runtime"], base["python"], base["drift"], base["for"]) == (None, PYTHON, 0, [])
    assert sorted(Layout(warm.target).tags()) == sorted(base["tags"])
    assert json.loads(warm.run("list", "--json").stdout) == []
    table = warm.run("base", "list").stdout
    assert table.splitlines()[0].split()[:6] == ["name", "for", "runtime", "python", "packages", "drift"]


def test_the_configuration_says_which_runtimes_have_which_base(warm: Bench, place: Path) -> None:
    reference = listed(warm)[0]["reference"]
    (warm.folder / "dbimage.toml").write_text(
        f'[bases]\n"15.4-lts-ml" = "{reference}"\n"16.4-lts" = "apt:noble"\n"17.3-lts" = "oci:{place}/none:x"\n'
    )
    try:
        ours, *others = listed(warm)
        assert ours["for"] == ["15.4-lts-ml"]
        assert [(each["for"], each["digest"]) for each in others] == [(["16.4-lts"], None), (["17.3-lts"], None)]
        assert all(each["problem"] for each in others)
    finally:
        (warm.folder / "dbimage.toml").unlink()


def test_equal_inputs_give_equal_bases(new_bench: NewBench, place: Path, warm: Bench, tmp_path: Path) -> None:
    first = listed(warm)[0]
    deep = tmp_path / ("d" * 80) / ("e" * 70)
    second = built(new_bench(deep), place, PYTHONHASHSEED="4711", TZ="Asia/Kathmandu", LC_ALL="POSIX")
    assert (second["digest"], second["record"]) == (first["digest"], first["record"])
    again = built(warm, place)
    assert (again["digest"], again["environment_reused"]) == (first["digest"], True)


def test_no_password_of_the_mirror_is_anywhere(warm: Bench) -> None:
    kept = (warm.target, warm.cache / "records", warm.cache / "blobs")
    places = [path for folder in kept for path in folder.rglob("*") if path.is_file()]
    assert len(places) > 10
    assert [path for path in places if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in warm.run("base", "list", "--json").stdout


@pytest.mark.registry
def test_a_registry_has_them_below_bases(
    new_bench: NewBench, place: Path, warm: Bench, registry, tmp_path: Path
) -> None:
    target = f"//{registry.host}/models"
    pushed = built(warm, place, "-t", target)
    assert pushed["reference"] == f"//{registry.host}/models/bases/ours@{pushed['digest']}"
    assert pushed["tags"] == [f"base-{str(pushed['digest'])[7:19]}", "base"]
    (base,) = listed(warm, "-t", target)
    assert (base["name"], base["digest"]) == ("ours", pushed["digest"])
    assert json.loads(warm.run("list", "--json", "-t", target).stdout) == []
    bases = f"15.4-lts={registry.host}/models/bases/ours:base"
    assert listed(warm, "-t", target, DBIMAGE_BASES=bases)[0]["for"] == ["15.4-lts"]
    shared = ("-t", f"//{registry.host}/all", "-C", "repository={prefix}")
    together = built(warm, place, *shared, "-C", "tag=may")
    assert together["tags"] == [f"base-ours-{str(pushed['digest'])[7:19]}", "base-ours-may", "base-ours"]
    assert [each["name"] for each in listed(warm, *shared)] == ["ours"]


def test_an_archive_holds_one(warm: Bench, place: Path, tmp_path: Path) -> None:
    target = f"docker-archive:{tmp_path / 'base.tar'}"
    written = built(warm, place, "-t", target)
    assert [each["name"] for each in listed(warm, "-t", target)] == ["ours"]
    assert json.loads(warm.run("list", "--json", "-t", target).stdout) == []
    assert built(warm, place, "-t", target)["digest"] == written["digest"]
    assert refused(build(warm, place, "-t", target, "--name", "other"))[:2] == (3, "already-deployed")


@pytest.mark.engine
def test_an_engine_has_them_as_images(warm: Bench, place: Path, engine, image: Image) -> None:
    variables = {"DOCKER_HOST": engine.host}
    loaded = built(warm, place, "-t", "docker-daemon:golden", **variables)
    assert loaded["reference"] == f"docker-daemon:golden/bases/ours:base-{image.digest.short}"
    (base,) = listed(warm, "-t", "docker-daemon:golden", **variables)
    assert (base["name"], base["tags"]) == ("ours", [f"base-{image.digest.short}", "base"])
    assert json.loads(warm.run("list", "--json", "-t", "docker-daemon:golden", **variables).stdout) == []


# What can go wrong


def test_drift_is_refused_and_allowed_and_recorded(warm: Bench, place: Path, tmp_path: Path) -> None:
    path = tmp_path / "drifted.yml"
    path.write_text(
        LIST.replace("greeting==1.0", "greeting==0.9.db1\n  - nowhere==1.0").replace("Ours", "drifted")
    )
    before = sorted(Layout(warm.target).tags())
    exit_code, code, message = refused(build(warm, place, "--from-env", path))
    assert (exit_code, code) == (4, "base-drift")
    told = [
        "greeting==0.9.db1: no index can have that version: it is a private one; greeting==1.0 is the nearest",
        "nowhere==1.0: no index has that version; nothing comes near",
    ]
    assert all(line in message for line in told)
    assert sorted(Layout(warm.target).tags()) == before
    allowed = built(warm, place, "--from-env", path, "--allow-drift")
    assert allowed["record"]["drift"] == told
    shown = build(warm, place, "--from-env", path, "--allow-drift").stdout
    assert all(json.dumps(line) in shown for line in told)
    options = ("--from-env", path, "--allow-drift", "--system", f"rootfs:{place / 'system.tar'}")
    text = warm.run("base", "build", *options, "-C", "exclude_newer=2099-01-01").stdout
    assert all(f"drift: {line}" in text for line in told)
    assert "the index gives no upload times for greeting: taken as of today" in text
    assert '[bases]\n"RUNTIME" = "oci:' in text


@pytest.mark.parametrize(
    ("change", "exit_code", "code", "told"),
    [
        (("greeting==1.0", "greeting>=1.0"), 3, "bad-package-list", "line 6: `greeting>=1.0` is not pinned"),
        ((f"python={PYTHON}", "python"), 3, "bad-package-list", "line 4: `python` is not pinned"),
        (("dependencies:", "dependencies: ["), 3, "bad-package-list", "line"),
        ((f"python={PYTHON}", "python=2.7.18"), 4, "package-not-found", "no channel has Python 2.7"),
        (("name: Ours", "name: '***'"), 2, "bad-name", "cannot be named"),
        (("[conda-forge]", "[nowhere-else]"), 5, "channel-failed", "file:///nowhere"),
        (("- pip:", "prefix: /databricks/conda\n- pip:"), 3, "bad-package-list", "line"),
    ],
)
def test_a_list_that_cannot_be_built_is_told(
    new_bench: NewBench, place: Path, tmp_path: Path, change: tuple[str, str], exit_code: int, code: str, told: str
) -> None:
    bench = new_bench(tmp_path / "bench")
    path = tmp_path / "bad.yml"
    path.write_text(LIST.replace(*change))
    channels = f"{bench.settings['DBIMAGE_CHANNEL_MAP']},nowhere-else=file:///nowhere"
    done = build(bench, place, "--from-env", path, DBIMAGE_CHANNEL_MAP=channels)
    assert refused(done)[:2] == (exit_code, code)
    assert told in refused(done)[2]
    assert not bench.target.exists()
    assert half_written(bench.cache) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("--runtime", "15.4-lts"), 2, "bad-value"),
        (("--prefix", "/usr/lib/env"), 2, "bad-value"),
        (("--system", "docker-daemon:"), 2, "bad-location"),
        (("--system", "rootfs:/nowhere.tar"), 3, "base-not-found"),
        (("-C", f"index_url=http://127.0.0.1:{free_port()}/simple"), 5, "index-failed"),
        (("-C", "platform=linux/s390x"), 3, "base-platform"),
    ],
)
def test_a_request_that_cannot_be_met_is_told(
    new_bench: NewBench, place: Path, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, code: str
) -> None:
    bench = new_bench(tmp_path / "bench")
    system = "rootfs:" + str(place / "system.tar")
    if code == "base-platform":  # an image says what it is for; a root file system does not
        system = "oci:" + str(other_platform(tmp_path / "other"))
    done = bench.run(
        *("base", "build", "--from-env", place / "ours.yml", "--system", system, "--json", *arguments)
    )
    assert refused(done)[:2] == (exit_code, code)
    assert not bench.target.exists()


def other_platform(folder: Path) -> Path:
    from oci_samples import small_image

    image = small_image(folder / "blobs")
    Layout(folder / "images").write_image(image)
    Layout(folder / "images").set_tags({"only": image.descriptor})
    return folder / "images"


def test_without_a_system_one_is_asked_for(new_bench: NewBench, place: Path, tmp_path: Path) -> None:
    done = new_bench(tmp_path).run("base", "build", "--from-env", place / "ours.yml", "--json")
    assert refused(done)[:2] == (4, "runtime-mismatch")


def test_a_golden_base_is_no_system(warm: Bench, place: Path, image: Image) -> None:
    done = build(warm, place, "--system", f"oci:{warm.target}@{image.digest}")
    assert refused(done)[:2] == (3, "base-invalid")


def test_a_given_prefix_makes_conda_s_root(warm: Bench, place: Path) -> None:
    prefix = "/databricks/conda/envs/ours"
    receipt = built(warm, place, "--prefix", prefix, "--name", "root", "-C", "bytecode=none", "-C", "layers=1")
    image = Layout(warm.target).image("base-root")
    assert image.environment["DATABRICKS_ROOT_CONDA_ENV"] == "ours"
    assert image.environment["PATH"].startswith(f"{prefix}/bin:")
    assert receipt["record"]["bytecode"] == "none"
    kinds = [layer["kind"] for layer in receipt["record"]["layers"]]
    assert {*kinds[:-1]} == {"environment"}
    assert kinds[-1] == "inventory"
    held = base_environment.read(image)
    assert held is not None
    assert all(path.startswith("databricks/conda/envs/ours/") for path in held.files)
    assert not any(path.endswith(".pyc") for path in held.files)


def test_ctrl_c_at_every_step_leaves_nothing(
    new_bench: NewBench, place: Path, image: Image, tmp_path: Path
) -> None:
    bench = new_bench(tmp_path / "stopped")
    options = ("--from-env", place / "ours.yml", "--system", f"rootfs:{place / 'system.tar'}")
    passed: list[str] = []
    for _ in range(40):
        process = bench.start("base", "build", *options, program=STOPPING, DBIMAGE_TEST_PASSED=json.dumps(passed))
        step, said = halted_at(process)
        if step is None:
            break
        passed.append(step)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate()
        assert process.returncode == 130, said + rest
        assert "Traceback" not in rest
        assert not bench.target.exists() or Layout(bench.target).tags() == {}
        assert half_written(bench.cache) == half_written(bench.target) == []
    process.communicate()
    assert process.returncode == 0, said
    assert {"finding conda packages #1", "finding wheels #1", "listing the files of the environment #1"} <= {
        *passed
    }
    assert Layout(bench.target).image("base-ours").digest == image.digest


# Whole runtimes


def image_of(base: MadeBase) -> Image:
    directory, _, digest = base.location.removeprefix("oci:").partition("@")
    layout = Layout(Path(directory))
    return next(image for tag in layout.tags() if str((image := layout.image(tag)).digest) == digest)


def in_container(engine_host: str, image: Image, name: str, script: str, python: str) -> str:
    """Run Python in a container of a base, without any network."""
    client = docker.DockerClient(base_url=engine_host, version="auto")
    try:
        DockerEngine(client).load(image, (name,))
        said = client.containers.run(name, [python, "-c", script], network_mode="none", remove=True)
        return said.decode()
    finally:
        client.close()


HASHES = """
import hashlib, json, os, sys
found = {}
for folder, folders, names in os.walk(sys.prefix):
    for name in names + [each for each in folders if os.path.islink(os.path.join(folder, each))]:
        path = os.path.join(folder, name)
        mode = os.lstat(path).st_mode & 0o7777
        if os.path.islink(path):
            found[path[1:]] = ["link", mode, os.readlink(path)]
        else:
            with open(path, "rb") as stream:
                found[path[1:]] = ["file", mode, hashlib.sha256(stream.read()).hexdigest()]
print(hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest())
"""


def digest_of_states(image: Image) -> str:
    held = base_environment.read(image)
    assert held is not None
    states = {path: list(state) for path, state in held.files.items()}
    return hashlib.sha256(json.dumps(states, sort_keys=True).encode()).hexdigest()


@pytest.mark.base
def test_the_page_s_list_is_held_whole(golden_7_6_ml: MadeBase) -> None:
    image = image_of(golden_7_6_ml)
    held = base_environment.read(image)
    assert held is not None
    listed_file = yaml.safe_load((files("mlflow_dbimage.runtimes") / "data/conda/7.6-ml-conda.yml").read_bytes())
    *conda, last = listed_file["dependencies"]
    assert [f"{each.name}={each.version}={each.build}" for each in held.locked.conda] == sorted(
        conda, key=lambda entry: entry.partition("=")[0]
    )
    assert [f"{each.name}=={each.version}" for each in held.locked.wheels] == sorted(
        last["pip"], key=lambda entry: entry.partition("==")[0]
    )
    assert len(held.locked.conda) + len(held.locked.wheels) == 180
    record = golden_7_6_ml.receipt["record"]
    assert (record["packages"], record["drift"], record["python"]) == (180, [], "3.7.10")
    prefix = "/databricks/conda/envs/databricks-ml"
    assert held.prefix == record["environment_prefix"] == prefix
    variables = image.environment
    assert variables["DEFAULT_DATABRICKS_ROOT_CONDA_ENV"] == "databricks-ml"
    assert variables["DATABRICKS_ROOT_CONDA_ENV"] == "databricks-ml"
    assert variables["PATH"].split(":")[0] == f"{prefix}/bin"
    metas = [path for path in held.files if "/conda-meta/" in path and path.endswith(".json")]
    assert len(metas) == 153


@pytest.mark.base
@pytest.mark.engine
def test_the_page_s_base_runs_its_python(golden_7_6_ml: MadeBase, engine) -> None:
    image = image_of(golden_7_6_ml)
    script = """
import json, pkg_resources, sys
import cloudpickle, databricks_cli, google.protobuf, joblib, lightgbm, numpy, pandas, pyarrow, requests, scipy
import sklearn, yaml, mlflow.lightgbm, mlflow.pyfunc, mlflow.sklearn
print(json.dumps({each.key: each.version for each in pkg_resources.working_set}))
"""
    python = "/databricks/conda/envs/databricks-ml/bin/python"
    found = json.loads(in_container(engine.host, image, "page:test", script, python))
    pins = {
        "numpy": "1.18.1",
        "scikit-learn": "0.22.1",
        "mlflow": "1.13.1",
        "protobuf": "3.11.4",
        "xgboost": "1.3.1",
    }
    assert found.items() >= pins.items()
    assert in_container(engine.host, image, "page:test", HASHES, python).strip() == digest_of_states(image)


@pytest.mark.base
@pytest.mark.engine
def test_a_base_of_today_s_runtime_runs_its_python(golden_15_4_lts_ml: MadeBase, engine) -> None:
    image = image_of(golden_15_4_lts_ml)
    record = golden_15_4_lts_ml.receipt["record"]
    assert len(PACKAGES_15_4) >= 40
    assert [line.partition(":")[0] for line in record["drift"]] == ["python=3.11.11"]
    script = """
import importlib.metadata, json, os, pwd
import mlflow.pyfunc, numpy, pandas, pyarrow, sklearn
there = importlib.metadata.distributions()
found = {each.metadata["Name"].lower().replace("_", "-"): each.version for each in there}
user = pwd.getpwnam("libraries")
print(json.dumps([found, os.environ["LANG"], os.environ["LC_ALL"], user.pw_uid == user.pw_gid]))
"""
    python = "/opt/dbimage/env/bin/python"
    found, *others = json.loads(in_container(engine.host, image, "today:test", script, python))
    catalogue = yaml.safe_load((files("mlflow_dbimage.runtimes") / "data/runtimes/15.4-lts-ml.yml").read_bytes())
    assert found.items() >= {name: catalogue["packages"][name] for name in PACKAGES_15_4}.items()
    assert others == ["C.UTF-8", "C.UTF-8", True]
    assert in_container(engine.host, image, "today:test", HASHES, python).strip() == digest_of_states(image)


@pytest.mark.base
@pytest.mark.peers
def test_others_read_a_golden_base(golden_7_6_ml: MadeBase) -> None:
    directory = golden_7_6_ml.location.removeprefix("oci:").partition("@")[0]
    skopeo = shutil.which("skopeo")
    done = subprocess.run(
        [str(skopeo), "inspect", f"oci:{directory}:base-7.6-ml"], capture_output=True, text=True, check=True
    )
    inspected = json.loads(done.stdout)
    assert inspected["Digest"] == golden_7_6_ml.receipt["digest"]
    assert "DATABRICKS_ROOT_CONDA_ENV=databricks-ml" in inspected["Env"]


@pytest.mark.base
@pytest.mark.registry
def test_the_commands_of_the_documentation_build_them(
    golden_mirror: Mirror,
    golden_7_6_ml: MadeBase,
    golden_builds: Path,
    base_rootfs: Path,
    registry,
    tmp_path: Path,
) -> None:
    """Behind a mirror: as they stand, but for the addresses; the environment is that of the base that is made."""
    documents = [(CLONE / name).read_text() for name in ("README.md", "docs/bases.md")]
    blocks = [text.split("<!-- mirror -->\n```sh\n")[1].split("```")[0] for text in documents]
    assert blocks[0] == blocks[1]
    script = blocks[0]
    for example, ours in {
        "https://index.example/simple": golden_mirror.index,
        "https://conda.example/main": golden_mirror.channel.as_uri(),
        "https://conda.example/pytorch": golden_mirror.channel.as_uri(),
        "//registry.example/os/ubuntu:18.04": f"rootfs:{base_rootfs}",
        "//registry.example/": f"//{registry.host}/",
    }.items():
        assert example in script
        script = script.replace(example, ours)
    whole = (files("mlflow_dbimage.runtimes") / "data/conda/7.6-ml-conda.yml").read_bytes()
    (tmp_path / "databricks-ml.yml").write_bytes(whole)
    program = " ".join(shlex.quote(word) for word in DBIMAGE)
    done = subprocess.run(
        ["bash", "-euc", f'dbimage() {{ {program} "$@"; }}\n{script}'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CLONE), "DBIMAGE_CACHE_DIR": str(golden_builds)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    listed_bases = {row[0]: row[1:6] for row in rows if len(row) >= 8 and row[0] in ("7.6-ml", "databricks-ml")}
    assert listed_bases == {
        "7.6-ml": ["-", "7.6-ml", "3.7.10", "180", "0"],
        "databricks-ml": ["-", "-", "3.7.10", "180", "0"],
    }
    assert f'"7.6-ml" = "//{registry.host}/models/bases/7.6-ml@{golden_7_6_ml.receipt["digest"]}"' in done.stdout


def test_help_is_cheap() -> None:
    done = subprocess.run([*DBIMAGE, "base", "build", "--help"], capture_output=True, text=True, check=True)
    assert "--from-env" in done.stdout
