"""Faults of services, disks, caches and people: what is said, what is left, and that the next build succeeds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Semaphore

import pytest

from fakes.faulty_registry import Fault, FaultyRegistry, Reply, faulty_registry
from fakes.package_index import PackageIndex, serve
from light_build import (
    DBIMAGE,
    STOPPING,
    Bench,
    error_of,
    flip,
    greeting_wheel,
    half_written,
    halted_at,
    light_model,
    light_settings,
    listing,
    tiny_base,
)
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.rootfs import rootfs_image
from mlflow_dbimage.oci.validate import problems
from services.http_server import running, served_folder
from services.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.channel]

NewBench = Callable[[Path], Bench]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    with serve(PackageIndex(directory=folder)) as index:
        yield index


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold what all builds here have in common: model and base."""
    folder = tmp_path_factory.mktemp("place")
    tiny_base(folder / "base" / "base.tar")
    light_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def new_bench(conda_channel, index: PackageIndex, place: Path) -> NewBench:
    """Return a function that makes a bench in a folder; its cache is cold and in `cache` of the folder."""
    settings = light_settings(conda_channel.url, place / "base" / "base.tar", index.url)
    return lambda folder: Bench(folder=folder, model=place / "model", cache=folder / "cache", settings=settings)


@pytest.fixture(scope="module")
def warm(new_bench: NewBench, place: Path) -> Bench:
    """A bench on which the model is deployed as `first`."""
    bench = new_bench(place / "warm")
    bench.receipt("first")
    return bench


@pytest.fixture(scope="module")
def digest(warm: Bench) -> str:
    """The digest that every build here must come to."""
    return str(Layout(warm.target).image("first").digest)


@pytest.fixture
def copy(new_bench: NewBench, warm: Bench, tmp_path: Path) -> Bench:
    """A bench with a copy of the warm cache and an empty destination."""
    bench = new_bench(tmp_path / "copy")
    shutil.copytree(warm.cache, bench.cache, symlinks=True)
    return bench


def broken_rules(image: Image) -> tuple[str, ...]:
    """Read all that we added to an image, and say what is wrong with it."""
    return problems(image, from_layer=int(image.labels["dev.dbimage.base.layers"]))


# Interruptions


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_stopped_at_any_step_is_done_by_the_next(
    new_bench: NewBench, tmp_path: Path, digest: str, blow: signal.Signals
) -> None:
    bench = new_bench(tmp_path / "stopped")
    passed: list[str] = []
    for _ in range(40):
        process = bench.start(
            "build", bench.model, "--name", "new", program=STOPPING, DBIMAGE_TEST_PASSED=json.dumps(passed)
        )
        step, said = halted_at(process)
        if step is None:
            break
        passed.append(step)
        process.send_signal(blow)
        _, rest = process.communicate()  # closes its input, so that threads that were stopped go on
        assert "new" not in Layout(bench.target).tags()
        assert "Traceback" not in rest
        if blow is signal.SIGINT:
            assert process.returncode == 130, said + rest
            assert rest.splitlines()[-1] == "interrupted; what was finished is kept, and no name has moved"
            assert half_written(bench.cache) == []
            assert half_written(bench.target) == []
        else:
            assert process.returncode == -signal.SIGKILL
    process.communicate()
    assert process.returncode == 0, said
    assert len(passed) >= 13, passed
    image = Layout(bench.target).image("new")
    assert str(image.digest) == digest
    assert broken_rules(image) == ()


def test_ctrl_c_reaches_programs_that_we_started(
    new_bench: NewBench, tmp_path: Path, place: Path, conda_channel
) -> None:
    """A terminal interrupts the whole group: uv, waiting for an index that hangs, and us."""
    with hanging_server() as (url, asked):
        bench = new_bench(tmp_path / "bench")
        command = [*DBIMAGE, "build", str(bench.model), "--name", "new", "-C", f"index_url={url}/simple"]
        process = subprocess.Popen(
            command,
            env=bench.environment,
            cwd=bench.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        asked.acquire()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("interrupted")
    assert half_written(bench.cache) == []


@contextmanager
def hanging_server() -> Iterator[tuple[str, object]]:
    asked, over = Semaphore(0), Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.release()
            over.wait()

        def log_message(self, *values: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        try:
            yield f"http://127.0.0.1:{port}", asked
        finally:
            over.set()


# Two at once


@pytest.mark.parametrize("names", [("one", "two"), ("same", "same")])
def test_two_builds_at_once(new_bench: NewBench, tmp_path: Path, digest: str, names: tuple[str, str]) -> None:
    bench = new_bench(tmp_path / "both")
    builds = [
        bench.start("build", bench.model, "--name", name, program=STOPPING, DBIMAGE_TEST_PASSED="[]")
        for name in names
    ]
    assert all("downloading" in str(halted_at(build)[0]) for build in builds)
    for build in builds:  # both have seen that the name is free
        assert build.stdin is not None
        build.stdin.close()
    said = [build.stderr.read() if build.stderr else "" for build in builds]
    assert [build.wait() for build in builds] == [0, 0], said
    for build in builds:
        for stream in (build.stdout, build.stderr):
            assert stream is not None
            stream.close()
    for once in ("solving conda packages: ", "resolving pip packages: ", "writing environment layers: "):
        assert sum(text.count(once) for text in said) == 1, said
    layout = Layout(bench.target)
    assert {str(layout.image(name).digest) for name in names} == {digest}
    assert broken_rules(layout.image(names[0])) == ()
    assert half_written(bench.target) == half_written(bench.cache) == []


# Caches


# rattler keeps packages extracted, and no archives.
CORRUPTIONS: dict[str, tuple[str, bool]] = {
    "layers": ("blobs/*", False),
    "records of environments": ("records/environments/*.json", False),
    "records of locks": ("records/locks/*.json", False),
    "records of bases": ("records/bases/*.json", False),
    "records of inventories": ("records/inventories/*.json", False),
    "wheels": ("wheels/*/*.whl", True),
    "unpacked wheels": ("unpacked/*/[0-9]*", True),
    "listings of unpacked wheels": ("unpacked/*/state", True),
    "extracted conda packages": ("conda/pkgs/*/lib/python3.*/os.py", True),
    "metadata of conda packages": ("conda/pkgs/*/info/*.json", True),
    "uv's cache": ("uv/uv/**/*.*", True),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corrupted_cache_is_made_again(copy: Bench, kind: str, digest: str) -> None:
    pattern, from_packages = CORRUPTIONS[kind]
    files = [path for path in copy.cache.glob(pattern) if path.is_file() and path.stat().st_size]
    assert files
    for path in files:
        flip(path)
    if from_packages:  # have the environment made again, from damaged packages
        for part in ("records", "blobs"):
            shutil.rmtree(copy.cache / part)
    assert copy.receipt("new")["digest"] == digest
    assert broken_rules(Layout(copy.target).image("new")) == ()
    again = listing(copy.cache)
    assert copy.receipt("again")["digest"] == digest
    assert {path: kind for path, kind in listing(copy.cache).items() if path in again} == again


@pytest.mark.root
def test_a_read_only_cache_is_no_hindrance(copy: Bench, digest: str) -> None:
    before = listing(copy.cache)
    subprocess.run(["mount", "--bind", "-o", "ro", str(copy.cache), str(copy.cache)], check=True)
    temporary = copy.folder / "tmp"
    temporary.mkdir()
    try:
        done = copy.build("new", TMPDIR=str(temporary))
    finally:
        subprocess.run(["umount", str(copy.cache)], check=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == digest
    assert str(copy.cache) in done.stderr
    assert "cannot be written" in done.stderr
    assert listing(copy.cache) == before
    assert list(temporary.iterdir()) == []


# Disks


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a small disk at a folder, and give a function that makes it larger."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)

    def enlarge(to: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={to}", str(place)], check=True)

    try:
        yield enlarge
    finally:
        subprocess.run(["umount", str(place)], check=True)


def must_be_full(done: subprocess.CompletedProcess[str]) -> None:
    exit_code, code, message, hint = error_of(done)
    assert (exit_code, code) == (5, "disk-failed"), message
    assert "No space left" in message or "more than there is room for" in message
    assert "space" in hint


@pytest.mark.root
@pytest.mark.parametrize("size", ["200k", "30m", "75m", "90m"])
def test_a_full_disk_of_the_cache(new_bench: NewBench, tmp_path: Path, size: str, digest: str) -> None:
    bench = new_bench(tmp_path / "bench")
    with small_disk(bench.cache, size) as enlarge:
        must_be_full(bench.build("new"))
        assert half_written(bench.cache) == []
        assert not bench.target.exists()
        enlarge("400m")
        assert bench.receipt("new")["digest"] == digest


@pytest.mark.root
@pytest.mark.parametrize("size", ["8k", "10m", "27m"])
def test_a_full_disk_of_the_destination(copy: Bench, size: str, digest: str) -> None:
    with small_disk(copy.target, size) as enlarge:
        must_be_full(copy.build("new"))
        assert half_written(copy.target) == half_written(copy.cache) == []
        assert "new" not in Layout(copy.target).tags()
        enlarge("100m")
        assert copy.receipt("new")["digest"] == digest


@pytest.mark.root
def test_a_destination_that_is_read_only(warm: Bench) -> None:
    before = listing(warm.target)
    subprocess.run(["mount", "--bind", "-o", "ro", str(warm.target), str(warm.target)], check=True)
    try:
        done = warm.build("new")
    finally:
        subprocess.run(["umount", str(warm.target)], check=True)
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (5, "disk-failed")
    assert str(warm.target) in message
    assert listing(warm.target) == before


# No network


WITHOUT_NETWORK = ("unshare", "-n", *DBIMAGE)


@pytest.mark.root
@pytest.mark.parametrize("offline", ["true", "false"])
def test_warm_caches_need_no_network(copy: Bench, digest: str, offline: str) -> None:
    shutil.rmtree(copy.cache / "blobs")
    shutil.rmtree(copy.cache / "records" / "environments")
    done = copy.run(
        "build",
        copy.model,
        *("--name", "new", "--json", "-C", f"offline={offline}"),
        program=WITHOUT_NETWORK,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == digest


@pytest.fixture(scope="module")
def far_channel(conda_channel) -> Iterator[str]:
    """The channel behind http."""
    with served_folder(conda_channel.directory) as far:
        yield far.url


@pytest.mark.parametrize("missing", ["index of the channel", "conda packages", "index", "wheels", "base"])
def test_cold_caches_without_network_say_what_is_missing(copy: Bench, far_channel: str, missing: str) -> None:
    variables = {"DBIMAGE_CHANNEL_MAP": f"conda-forge={far_channel}"}
    keys: list[str] = []
    if missing != "index of the channel":
        assert copy.receipt("warm", **variables)["notes"] is not None
    remade = ["records", "blobs"] if missing in ("conda packages", "index", "wheels") else []
    parts = {"conda packages": ["conda/pkgs"], "index": ["uv"], "wheels": ["wheels"]}.get(missing, [])
    if missing == "wheels":
        remade = ["records/environments", "blobs"]
    for part in (*remade, *parts):
        shutil.rmtree(copy.cache / part)
    if missing == "base":
        keys = ["-C", "base_image=docker://registry.invalid/base:1"]
    before = listing(copy.target)
    done = copy.build("new", "-C", "offline=true", *keys, **variables)
    exit_code, code, message, hint = error_of(done)
    assert (exit_code, code) == (5, "offline"), message
    named = {
        "index of the channel": far_channel,
        "conda packages": "python-3",
        "index": "greeting",
        "wheels": "greeting 1.0",
        "base": "registry.invalid/base:1",
    }
    assert named[missing] in message
    assert hint
    assert listing(copy.target) == before
    assert half_written(copy.cache) == []


# Registries


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        yield registry


def refused(status: int) -> Reply:
    return Reply(status=status, body=b'{"errors":[{"code":"SOME","message":"not today"}]}')


FAULTS: dict[str, tuple[Fault, str]] = {
    "asked who we are": (Fault(method="HEAD", path="/v2/", times=99, reply=refused(401)), "registry-denied"),
    "forbidden to push": (Fault(method="POST", path="/uploads/", times=99, reply=refused(403)), "registry-denied"),
    "blobs fail midway": (
        Fault(method="PATCH", path="/uploads/", skip=2, times=99, reply=refused(500)),
        "registry-failed",
    ),
    "the manifest fails": (
        Fault(method="PUT", path="/manifests/", times=99, reply=refused(500)),
        "registry-failed",
    ),
    "the tag fails": (
        Fault(method="PUT", path="/manifests/(local|deployed)", times=99, reply=refused(500)),
        "registry-failed",
    ),
    "cut midway": (Fault(method="PATCH", path="/uploads/", skip=2, times=99, hear=1000), "registry-unreachable"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_registry_that_fails(warm: Bench, registry: FaultyRegistry, kind: str, digest: str) -> None:
    target = ("-t", f"docker://{registry.host}/models")
    fault, expected = FAULTS[kind]
    registry.faults.append(Fault(**vars(fault)))
    cache = listing(warm.cache)
    exit_code, code, message, hint = error_of(warm.build("new", *target))
    assert (exit_code, code) == (5, expected), message
    assert registry.host in message
    assert hint
    assert "deployed" not in registry.tag_digests.get("models/new", {})
    assert listing(warm.cache) == cache
    registry.faults.clear()
    assert json.loads(warm.run("list", "--json", *target).stdout) == []
    assert warm.receipt("new", *target)["digest"] == digest
    assert registry.tag_digests["models/new"]["deployed"] == digest


def test_a_failed_update_leaves_the_deployment(
    warm: Bench, registry: FaultyRegistry, tmp_path: Path, place: Path
) -> None:
    target = ("-t", f"docker://{registry.host}/models")
    before = warm.receipt("new", *target)["digest"]
    model = light_model(tmp_path / "model")
    (model / "more.txt").write_text("another model\n")
    other = Bench(folder=warm.folder, model=model, cache=warm.cache, settings=warm.settings)
    registry.faults.append(Fault(method="PUT", path="/manifests/", times=99, reply=refused(500)))
    tags = dict(registry.tag_digests["models/new"])
    done = other.build("new", "--mode", "update", *target)
    assert error_of(done)[:2] == (5, "registry-failed")
    assert registry.tag_digests["models/new"] == tags
    assert tags["deployed"] == before
    registry.faults.clear()
    after = other.receipt("new", "--mode", "update", *target)["digest"]
    assert registry.tag_digests["models/new"]["deployed"] == after != before


@pytest.mark.parametrize("what", ["destination", "base"])
def test_a_registry_that_is_down(warm: Bench, what: str) -> None:
    host = f"127.0.0.1:{free_port()}"
    arguments = (
        ["-t", f"docker://{host}/models"]
        if what == "destination"
        else ["-C", f"base_image=docker://{host}/base:1"]
    )
    before = listing(warm.cache, warm.target)
    exit_code, code, message, hint = error_of(warm.build("new", *arguments))
    assert (exit_code, code) == (5, "registry-unreachable")
    assert host in message
    assert hint
    assert listing(warm.cache, warm.target) == before


@pytest.fixture
def base_repository(registry: FaultyRegistry, tmp_path: Path) -> str:
    """Push a base of its own into the registry, and return where it is."""
    base = tiny_base(tmp_path / "base.tar", f"etc/{tmp_path.name}")
    image = rootfs_image(base, Platform("linux", "amd64"), tmp_path, Compression.GZIP)
    registry.put(image, "base", "1")
    return f"docker://{registry.host}/base:1"


def altered(reply: Reply) -> Reply:
    return Reply(status=reply.status, headers=reply.headers, body=reply.body[:-1] + bytes([reply.body[-1] ^ 1]))


BASE_FAULTS: dict[str, tuple[Fault, int, str]] = {
    "asked who we are": (
        Fault(method="GET", path="/manifests/", times=99, reply=refused(401)),
        5,
        "registry-denied",
    ),
    "forbidden": (Fault(method="GET", path="/blobs/", times=99, reply=refused(403)), 5, "registry-denied"),
    "a layer fails": (
        Fault(method="GET", path="/blobs/", skip=1, times=99, reply=refused(500)),
        5,
        "registry-failed",
    ),
    "cut midway": (Fault(method="GET", path="/blobs/", skip=1, times=99, say=1000), 5, "registry-unreachable"),
    "other bytes": (Fault(method="GET", path="/blobs/", skip=1, times=99, alter=altered), 6, "digest-mismatch"),
    "another config": (Fault(method="GET", path="/blobs/", times=1, alter=altered), 6, "digest-mismatch"),
}


@pytest.mark.parametrize("kind", BASE_FAULTS)
def test_a_base_that_does_not_come(warm: Bench, registry: FaultyRegistry, base_repository: str, kind: str) -> None:
    fault, exit_code, expected = BASE_FAULTS[kind]
    registry.faults.append(Fault(**vars(fault)))
    before = listing(warm.cache, warm.target)
    found, code, message, _ = error_of(warm.build("new", "-C", f"base_image={base_repository}"))
    assert (found, code) == (exit_code, expected), message
    assert registry.host in message or "sha256" in message
    assert listing(warm.cache, warm.target) == before
    registry.faults.clear()
    plan = warm.run("plan", warm.model, "--json", "-C", f"base_image={base_repository}")
    assert plan.returncode == 0, plan.stderr


# Indexes


def test_a_wheel_with_another_digest(copy: Bench, tmp_path: Path, digest: str) -> None:
    folder = tmp_path / "wheels"
    wheel = greeting_wheel(folder)
    with serve(PackageIndex(directory=folder)) as index:
        key = ("-C", f"index_url={index.url}")
        assert copy.receipt("warm", *key)["digest"] == digest
        shutil.rmtree(copy.target)
        for part in ("records/environments", "blobs", "wheels"):  # what the lock names is fetched again
            shutil.rmtree(copy.cache / part)
        index.broken.add(wheel.name)
        exit_code, code, message, _ = error_of(copy.build("new", *key))
        assert (exit_code, code) == (6, "digest-mismatch")
        assert wheel.name in message
        assert not copy.target.exists()
        assert half_written(copy.cache) == []
        index.broken.clear()
        assert copy.receipt("new", *key)["digest"] == digest


def test_an_index_and_a_channel_that_are_down(copy: Bench) -> None:
    port = free_port()
    shutil.rmtree(copy.cache / "records")
    for key, expected in (("index_url", "index-failed"), ("channels", "channel-failed")):
        done = copy.build("new", "-C", f"{key}=http://127.0.0.1:{port}/somewhere")
        exit_code, code, message, hint = error_of(done)
        assert (exit_code, code) == (5, expected), message
        assert f"127.0.0.1:{port}" in message
        assert hint
        assert not copy.target.exists()
        assert half_written(copy.cache) == []
