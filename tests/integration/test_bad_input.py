"""Bad input: what is said, the exit code, and that nothing has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

import sample_models
from command_line import called
from fakes.faulty_registry import faulty_registry
from fakes.package_index import PackageIndex, serve
from light_build import (
    Bench,
    error_of,
    flip,
    greeting_wheel,
    half_written,
    light_model,
    light_settings,
    listing,
    tiny_base,
)
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.rootfs import rootfs_image

pytestmark = [pytest.mark.slow, pytest.mark.channel]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    with serve(PackageIndex(directory=folder)) as index:
        yield index


@pytest.fixture(scope="module")
def bench(conda_channel, index: PackageIndex, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A place where the deployment `here` exists, and everything is warm."""
    folder = tmp_path_factory.mktemp("bench")
    settings = light_settings(conda_channel.url, tiny_base(folder / "base" / "base.tar"), index.url)
    bench = Bench(
        folder=folder / "here", model=light_model(folder / "model"), cache=folder / "cache", settings=settings
    )
    bench.receipt("here")
    return bench


@contextmanager
def nothing_changes(bench: Bench, *others: Path) -> Iterator[None]:
    """Check that all stays as it is; the cache may gain what is whole."""
    before, cached = listing(bench.folder, *others), listing(bench.cache)
    yield
    assert listing(bench.folder, *others) == before
    after = listing(bench.cache)
    # What uv and the channels said may be refreshed; all else is as it was.
    kept = {path: digest for path, digest in cached.items() if "/repodata/" not in path and "/uv/uv/" not in path}
    assert {path: after.get(path) for path in kept} == kept
    assert half_written(bench.cache) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says", "next_"),
    [
        (["-C", "runtim=15.4-lts"], "unknown-key", ["`runtim`", "did you mean `runtime`"], "dbimage config"),
        (["-C", "compression=gzp"], "bad-value", ["`compression`", "`gzp`", "`gzip` or `zstd`"], ""),
        (["-C", "offline=perhaps"], "bad-value", ["`offline`", "perhaps"], ""),
        (
            ["-C", "runtim=1", "-C", "compression=gzp", "-C", "chanels=x"],
            "unknown-key",
            ["`runtime`", "`gzp`", "`channels`"],
            "dbimage config",
        ),
        (["-t", "ftp://somewhere/else"], "bad-location", ["ftp://somewhere/else"], "oci:DIR"),
        (["-t", "dbimage:nowhere:thing"], "bad-location", ["dbimage:nowhere:thing"], "docker-daemon:"),
        (["-C", "base_image=floppy://a"], "bad-location", ["floppy://a"], "rootfs:"),
        (["--name", "Churn Model!"], "bad-name", ["`Churn Model!`", "a space", "`!`"], "`churn-model` would do"),
        (["--name", "a" * 200], "bad-name", ["200 characters"], ""),
        (["--name", "here-v3"], "bad-name", ["`here-v3`", "version"], "would do"),
    ],
)
def test_what_is_malformed(bench: Bench, arguments: list[str], code: str, says: list[str], next_: str) -> None:
    with nothing_changes(bench):
        done = bench.run("build", bench.model, "--name", "new", "--json", *arguments)
    exit_code, found, message, hint = error_of(done)
    assert (exit_code, found) == (2, code)
    for each in says:
        assert each in message
    assert next_ in hint


def test_a_runtime_that_does_not_exist_names_the_nearest(bench: Bench) -> None:
    with nothing_changes(bench):
        done = bench.build("new", "-C", "runtime=15.4-lst")
    exit_code, code, message, hint = error_of(done)
    assert (exit_code, code) == (4, "unknown-runtime")
    assert "15.4-lst" in message
    assert "15.4-lts" in message + hint


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("15.4-lts.yml", "packages:", "packages: {", "at line"),
        ("15.4-lts.yml", "python: '3.11.11'", "python: newest", "`python` does not begin with a version"),
        ("15.4-lts.yml", "delta:", "dleta:", "`dleta` is no known field"),
        ("15.4.yml", "", "", "is another name of `15.4-lts`"),
    ],
)
def test_a_folder_of_runtimes_that_is_broken(
    bench: Bench, tmp_path: Path, name: str, old: str, new: str, says: str
) -> None:
    ours = Path(str(files("mlflow_dbimage.runtimes"))) / "data" / "runtimes" / "15.4-lts.yml"
    (tmp_path / name).write_text(ours.read_text().replace(old, new, 1))
    with nothing_changes(bench, tmp_path):
        done = bench.build("new", "-C", "runtime=15.4-lts", DBIMAGE_RUNTIMES_DIR=str(tmp_path))
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (3, "bad-config-file")
    assert says in message
    assert str(tmp_path / name) in message


@pytest.fixture(scope="module")
def store(bench: Bench, _empty_store: Path) -> Path:
    """Register the light model as version 1 of `greeter`; return the folder of MLflow's store."""
    folder = bench.folder.parent / "mlflow"
    folder.mkdir()
    shutil.copy(_empty_store, folder / "mlflow.db")
    script = (
        "import sys, mlflow; client = mlflow.MlflowClient(); client.create_registered_model('greeter');"
        "client.create_model_version('greeter', source=sys.argv[1])"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, bench.model.as_uri()]
    variables = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("uri", "says", "next_"),
    [
        ("models:/greeter/9", ["`greeter`", "9"], "1"),
        ("models:/greetr/1", ["`greetr`"], "greeter"),
        ("models:/greeter@champion", ["champion", "`greeter`"], ""),
        ("runs:/0123456789abcdef0123456789abcdef/model", ["0123456789abcdef0123456789abcdef"], ""),
        ("no-such-folder", ["no-such-folder"], "models:/NAME/VERSION"),
    ],
)
def test_a_model_that_does_not_exist(bench: Bench, store: Path, uri: str, says: list[str], next_: str) -> None:
    tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
    with nothing_changes(bench, store):
        done = bench.run("build", uri, "--name", "new", "--json", **tracking)
    exit_code, code, message, hint = error_of(done)
    assert (exit_code, code) == (3, "model-not-found")
    for each in says:
        assert each in message
    assert next_ in message + hint


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["build", "MODEL", "--name", "here"], "already-deployed", ["`here`", "exists"]),
        (["build", "MODEL", "--name", "away", "--mode", "update"], "not-deployed", ["`away`", "update"]),
        (["inspect", "away"], "not-deployed", ["`away`"]),
    ],
)
def test_a_name_that_is_taken_or_is_not(bench: Bench, arguments: list[str], code: str, says: list[str]) -> None:
    with nothing_changes(bench):
        done = bench.run(*(str(bench.model) if each == "MODEL" else each for each in arguments), "--json")
    exit_code, found, message, hint = error_of(done)
    assert (exit_code, found) == (3, code)
    for each in says:
        assert each in message
    assert hint


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["create", "--name", "here", "-m", "MODEL"], 3, "a deployment `here` exists"),
        (["update", "--name", "away", "-m", "MODEL"], 3, "no deployment `away` exists to update"),
        (["get", "--name", "away"], 3, "no deployment is named `away`"),
        (["create", "--name", "new", "-m", "models:/greeter/9"], 3, "version 9"),
        (["create", "--name", "new", "-m", "MODEL", "-C", "runtim=1"], 2, "did you mean `runtime`"),
    ],
)
def test_mlflows_own_command_says_one_line_and_exits_alike(
    bench: Bench, store: Path, arguments: list[str], exit_code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    environment = {**bench.environment, "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
    command = [str(bench.model) if each == "MODEL" else each for each in arguments]
    with nothing_changes(bench, store):
        done = called("mlflow deployments", command[0], "-t", "dbimage", *command[1:], **environment)
    assert done.returncode == exit_code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


#: By sample: exit code, code, and what the message must name.
BAD_SAMPLES: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "bad-broken-yaml": (3, "model-environment-invalid", ("conda.yaml", "line ")),
    "bad-data-escape": (3, "model-unsafe", ("../outside.txt",)),
    "bad-missing-package": (4, "package-not-found", ()),
    "bad-missing-python": (4, "package-not-found", ("python 3.99", "they have Python 3.7.", "3.11.")),
    "bad-no-environment": (3, "model-environment-missing", ("conda.yaml",)),
    "bad-path-escape": (3, "model-unsafe", ("artifacts/notes.txt",)),
    "bad-pickle-python": (3, "model-pickle-mismatch", ("3.8",)),
    "bad-pip-overwrites-conda": (4, "ownership-conflict", ("six.py", "six-fork")),
    "bad-unsolvable": (4, "unsolvable", ("demo-rates>=2", "demo-rates<2")),
    "bad-unsolvable-pip": (4, "unsolvable", ("urllib3",)),
    "bad-whiteout-name": (3, "model-unsafe", (".wh.model.py",)),
    "bad-yaml-object": (3, "model-environment-invalid", ("conda.yaml",)),
}


def test_every_bad_sample_is_expected() -> None:
    assert tuple(BAD_SAMPLES) == sample_models.names(good=False)


@pytest.mark.parametrize("sample", BAD_SAMPLES)
def test_a_bad_sample(bench: Bench, models: Callable[[str], Path], sample: str) -> None:
    expected, code, says = BAD_SAMPLES[sample]
    model = models(sample)
    without = {key: value for key, value in bench.settings.items() if key != "DBIMAGE_INDEX_URL"}
    usual = Bench(folder=bench.folder, model=model, cache=bench.cache, settings=without)
    with nothing_changes(usual, model):
        done = usual.build("new")
    exit_code, found, message, hint = error_of(done)
    assert (exit_code, found) == (expected, code), message
    for each in says:
        assert each in message
    assert hint
    assert list(usual.folder.rglob("dbimage-was-here")) == []


@pytest.fixture(scope="module")
def bases(bench: Bench) -> Path:
    """A layout with one base for another processor."""
    folder = bench.folder.parent / "base"
    image = rootfs_image(folder / "base.tar", Platform("linux", "arm64"), folder, Compression.GZIP)
    layout = Layout(folder / "layout")
    layout.write_image(image)
    layout.set_tags({"arm": image.descriptor})
    return folder


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("rootfs:{bases}/none.tar", "none.tar"),
        ("docker-archive:{bases}/none.tar", "none.tar"),
        ("oci:{bases}/none", "none"),
        ("oci:{bases}/layout:intel", "`arm`"),
    ],
)
def test_a_base_that_is_missing(bench: Bench, bases: Path, location: str, says: str) -> None:
    with nothing_changes(bench, bases):
        done = bench.build("new", "-C", f"base_image={location.format(bases=bases)}")
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (3, "base-not-found")
    assert says in message


def test_a_base_that_is_missing_in_a_registry(bench: Bench) -> None:
    with faulty_registry() as registry, nothing_changes(bench):
        done = bench.build("new", "-C", f"base_image=docker://{registry.host}/base:1")
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (3, "base-not-found")
    assert f"{registry.host}/base:1" in message


def test_a_base_for_another_platform(bench: Bench, bases: Path) -> None:
    with nothing_changes(bench, bases):
        done = bench.build("new", "-C", f"base_image=oci:{bases}/layout:arm")
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (3, "base-platform")
    assert "linux/arm64" in message
    assert "linux/amd64" in message


@pytest.fixture
def layout(bench: Bench, tmp_path: Path) -> Layout:
    """A layout with a good base `good`, to be damaged."""
    base = tiny_base(tmp_path / "base.tar", f"etc/{tmp_path.name}")  # no record of an earlier build fits it
    image = rootfs_image(base, Platform("linux", "amd64"), tmp_path, Compression.GZIP)
    made = Layout(tmp_path / "layout")
    made.write_image(image)
    made.set_tags({"good": image.descriptor})
    return made


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_a_base_with_a_broken_blob(bench: Bench, layout: Layout, part: str) -> None:
    image = layout.image("good")
    digest = {
        "manifest": image.digest,
        "config": image.config_descriptor.digest,
        "layer": image.layers[0].descriptor.digest,
    }[part]
    flip(layout.path / "blobs" / "sha256" / digest.hex)
    with nothing_changes(bench, layout.path):
        done = bench.build("new", "-C", f"base_image=oci:{layout.path}:good")
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (6, "digest-mismatch")
    assert digest.hex[:12] in message


def test_a_layer_that_broke_after_it_was_read_once(bench: Bench, layout: Layout) -> None:
    """The facts of the base are remembered by then: its bytes are read only as they are written."""
    location = f"base_image=oci:{layout.path}:good"
    assert bench.run("plan", bench.model, "-C", location).returncode == 0
    digest = layout.image("good").layers[0].descriptor.digest
    flip(layout.path / "blobs" / "sha256" / digest.hex)
    before = listing(bench.target)
    done = bench.build("new", "-C", location)
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (6, "digest-mismatch")
    assert digest.hex[:12] in message
    assert half_written(bench.target) == []
    assert {path: kind for path, kind in listing(bench.target).items() if path in before} == before
    assert "new" not in Layout(bench.target).tags()
    assert not (bench.target / "blobs" / "sha256" / digest.hex).exists()


@pytest.mark.parametrize("content", [b"", b"not a tar archive at all", b"\x1f\x8b\x08\x00 broken"])
def test_a_tarball_that_is_none(bench: Bench, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "base.tar").write_bytes(content)
    with nothing_changes(bench, tmp_path):
        done = bench.build("new", "-C", f"base_image=rootfs:{tmp_path}/base.tar")
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (3, "base-invalid")
    assert "base.tar" in message


def test_a_tarball_that_is_cut_off(bench: Bench, tmp_path: Path) -> None:
    whole = tiny_base(tmp_path / "whole.tar").read_bytes()
    (tmp_path / "base.tar").write_bytes(whole[: len(whole) // 2])
    with nothing_changes(bench, tmp_path):
        done = bench.build("new", "-C", f"base_image=rootfs:{tmp_path}/base.tar")
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (3, "base-invalid")
    assert "base.tar" in message
