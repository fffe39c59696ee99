"""A password in every source of credentials, used by a real build, and found in nothing that the build leaves."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, greeting_wheel, light_model, tiny_base
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.rootfs import rootfs_image
from services.http_server import ServedFolder, served_folder
from services.registry_server import RunningRegistry, registry_server
from toy_wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.channel, pytest.mark.registry]

USER = "reader"
LINUX = Platform("linux", "amd64")
SOURCES = (
    *("index-url", "extra-index", "netrc", "channel-map", "docker-config"),
    *("registry-variable", "tracking-uri", "model-line"),
)
CANARIES = {source: f"canary-{source}-7f3a91" for source in SOURCES}
#: The model's own file has it, and is in the image as the model has it.
IN_THE_MODEL = "model-line"


class CommandLines:
    """Looks at the command lines of all processes, again and again, until it is told to stop."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    try:
                        self.seen.add((process / "cmdline").read_bytes())
                    except OSError:
                        continue  # it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What asks the build for passwords."""

    indexes: Mapping[str, PackageIndex]
    """By source; each has one wheel."""
    channel: ServedFolder
    registries: Mapping[str, RunningRegistry]


@contextmanager
def services(place: Path, channel: Path) -> Iterator[Services]:
    """Serve all of them, each with its own password."""
    with ExitStack() as stack:
        indexes = {}
        for source in ("index-url", "extra-index", "netrc", "model-line"):
            make_wheel(place / source, f"from-{source}")
            index = PackageIndex(directory=place / source, password=CANARIES[source])
            indexes[source] = stack.enter_context(serve(index))
        greeting_wheel(indexes["index-url"].directory)
        yield Services(
            indexes=indexes,
            channel=stack.enter_context(served_folder(channel, f"{USER}:{CANARIES['channel-map']}")),
            registries={
                source: stack.enter_context(registry_server(place / source, login=(USER, CANARIES[source])))
                for source in ("docker-config", "registry-variable")
            },
        )


def make_home(home: Path, registry: str) -> None:
    """Write the files that have passwords: `netrc`, and the configuration of Docker for a registry."""
    (home / "docker").mkdir(parents=True)
    logins = (f"machine {host} login {USER} password {CANARIES['netrc']}\n" for host in ("localhost", "127.0.0.1"))
    (home / "netrc").write_text("".join(logins))
    (home / "netrc").chmod(0o600)
    pair = base64.b64encode(f"{USER}:{CANARIES['docker-config']}".encode()).decode()
    (home / "docker" / "config.json").write_text(json.dumps({"auths": {registry: {"auth": pair}}}))


def push_base(place: Path, registry: str) -> None:
    base = rootfs_image(tiny_base(place / "base.tar"), LINUX, place, Compression.GZIP)
    repository = Repository(Registry(registry), "base")
    repository.push(base)
    repository.put_manifest("1", base.manifest, base.media_type)


def settings_with_passwords(running: Services, home: Path, tracking: str) -> dict[str, str]:
    """Return variables that name all of it."""
    indexes, registries = running.indexes, running.registries
    by_netrc = f"http://localhost:{indexes['netrc'].port}/simple"
    return {
        "DBIMAGE_INDEX_URL": indexes["index-url"].url_with_password,
        "DBIMAGE_EXTRA_INDEX_URL": f"{indexes['extra-index'].url_with_password},{by_netrc}",
        "NETRC": str(home / "netrc"),
        "DBIMAGE_CHANNEL_MAP": f"conda-forge={running.channel.url_with_password}",
        "DBIMAGE_BASE_IMAGE": f"docker://{registries['docker-config'].host}/base:1",
        "DOCKER_CONFIG": str(home / "docker"),
        "DBIMAGE_TARGET": f"docker://{registries['registry-variable'].host}/models",
        "DBIMAGE_REGISTRY_HOST": registries["registry-variable"].host,
        "DBIMAGE_REGISTRY_USERNAME": USER,
        "DBIMAGE_REGISTRY_PASSWORD": CANARIES["registry-variable"],
        "MLFLOW_TRACKING_URI": f"http://{USER}:{CANARIES['tracking-uri']}@{urlsplit(tracking).netloc}",
    }


@pytest.fixture(scope="module")
def built(
    conda_channel, tracking_server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bench, subprocess.CompletedProcess[str], Image, CommandLines, Path]]:
    """Build once, with every credential in use, and give all that came of it."""
    place = tmp_path_factory.mktemp("secrets")
    home = place / "home"
    with services(place, conda_channel.directory) as running, pytest.MonkeyPatch.context() as patch:
        bases, images = (running.registries[source].host for source in ("docker-config", "registry-variable"))
        make_home(home, bases)
        patch.setenv("DOCKER_CONFIG", str(home / "docker"))
        push_base(place / "base", bases)
        own_index = running.indexes["model-line"].url_with_password
        lines = (f"--extra-index-url {own_index}", *(f"from-{source}" for source in running.indexes))
        model = light_model(place / "model", *lines)
        register(tracking_server.uri, model, place)
        settings = settings_with_passwords(running, home, tracking_server.uri)
        bench = Bench(folder=place / "bench", model=model, cache=place / "cache", settings=settings)
        with CommandLines() as commands:
            done = bench.run("build", "models:/secret/1", "--name", "secret", "--json")
        assert done.returncode == 0, done.stderr
        assert running.channel.served
        for index in running.indexes.values():
            assert any(path.startswith("/files/") for path in index.requests)
        for name in ("HOST", "USERNAME", "PASSWORD"):
            patch.setenv(f"DBIMAGE_REGISTRY_{name}", settings[f"DBIMAGE_REGISTRY_{name}"])
        pushed = Repository(Registry(images), "models/secret").image("deployed", LINUX)
        yield bench, done, pushed, commands, place / "registry-variable" / "data"


def register(uri: str, model: Path, place: Path) -> None:
    """Register a model directory as version 1 of `secret`."""
    script = (
        "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); run = mlflow.start_run();"
        "mlflow.log_artifacts(sys.argv[2], 'model'); client = mlflow.MlflowClient();"
        "client.create_registered_model('secret');"
        "client.create_model_version('secret', f'{run.info.artifact_uri}/model', run.info.run_id);"
        "mlflow.end_run()"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, uri, str(model)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def forms(canary: str) -> list[bytes]:
    """How a password may be written: plainly, or as HTTP and Docker write it beside its user."""
    return [canary.encode(), base64.b64encode(f"{USER}:{canary}".encode()).rstrip(b"=")]


def found_in(data: bytes) -> set[str]:
    """Return which sources' passwords some bytes hold."""
    return {source for source, canary in CANARIES.items() if any(form in data for form in forms(canary))}


def plain(path: Path) -> bytes:
    """Return a file's bytes, and what they are when unpacked."""
    data = path.read_bytes()
    return data + gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(f"..{CANARIES['netrc']}..".encode()))
    assert found_in(plain(tmp_path / "a.gz")) == {"netrc"}
    header = base64.b64encode(f"{USER}:{CANARIES['index-url']}".encode())
    assert found_in(b"Authorization: Basic " + header) == {"index-url"}


def test_no_file_of_the_image_has_one_but_the_models_own(built) -> None:
    _, _, image, _, _ = built
    assert found_in(image.manifest) == found_in(image.config) == set()
    files: dict[str, set[str]] = {}
    for layer in image.layers:
        with layer.open() as stream:
            unpacked = io.BytesIO(gzip.decompress(stream.read()))
        with tarfile.open(fileobj=unpacked) as tar:
            for member in tar:
                content = tar.extractfile(member)
                inside = found_in(content.read()) if content is not None else set()
                found = inside | found_in(repr(member.get_info()).encode())
                if found:
                    files[member.name] = found
    assert files == {"opt/dbimage/model/conda.yaml": {IN_THE_MODEL}}


def test_no_stored_byte_has_one_outside_the_models_layer(built) -> None:
    """As the registry has it: every manifest, config, layer and link, headers and paddings too."""
    _, _, image, _, data = built
    held = {path: found_in(plain(path)) for path in data.rglob("*") if path.is_file()}
    assert len(held) > len(image.layers)
    assert {path.parent.name: found for path, found in held.items() if found} == {
        layer_of_model(built): {IN_THE_MODEL}
    }


def test_no_file_of_the_cache_has_one_but_the_models_layer(built) -> None:
    bench, _, _, _, _ = built
    held = {path: found_in(plain(path)) for path in bench.cache.rglob("*") if path.is_file()}
    assert len(held) > 100
    assert {path.name: found for path, found in held.items() if found} == {layer_of_model(built): {IN_THE_MODEL}}


def layer_of_model(built) -> str:
    """Return the hex digest of the layer with the model's files."""
    _, _, image, _, _ = built
    record = json.loads(image.labels["dev.dbimage.record"])
    (digest,) = [layer["digest"] for layer in record["layers"] if layer["kind"] == "model"]
    return str(digest).removeprefix("sha256:")


def test_nothing_that_is_said_has_one_and_the_models_own_is_warned_of(built) -> None:
    _, done, _, _, _ = built
    assert found_in(done.stdout.encode()) == found_in(done.stderr.encode()) == set()
    notes = json.loads(done.stdout)["notes"]
    assert [note for note in notes if "conda.yaml" in note and "password" in note]


def test_no_command_line_has_one(built) -> None:
    _, _, _, lines, _ = built
    assert any(b"pip\0compile" in line for line in lines.seen), "uv was not seen: the search looks at nothing"
    assert found_in(b"\n".join(lines.seen)) == set()


@pytest.mark.parametrize(
    "variable",
    ["DBIMAGE_INDEX_URL", "DBIMAGE_EXTRA_INDEX_URL", "DBIMAGE_CHANNEL_MAP", "DBIMAGE_REGISTRY_PASSWORD"],
)
def test_no_failure_says_one(built, variable: str) -> None:
    """The same build with one password that is wrong: refused, without a word of it."""
    bench, _, _, _, _ = built
    wrong = "canary-wrong-2b7c"
    value = bench.settings[variable]
    for canary in CANARIES.values():
        value = value.replace(canary, wrong)
    part = {"DBIMAGE_CHANNEL_MAP": "conda", "DBIMAGE_REGISTRY_PASSWORD": "none"}.get(variable, "uv")
    cold = bench.folder / "cold"
    shutil.copytree(bench.cache, cold, ignore=shutil.ignore_patterns("records", "wheels", part))
    try:
        done = bench.run(
            "build",
            *("models:/secret/1", "--name", "other", "--json"),
            **{variable: value, "DBIMAGE_CACHE_DIR": str(cold), "DBIMAGE_SHARED_CACHE": "off"},
        )
        held = {path.name for path in cold.rglob("*") if path.is_file() and wrong.encode() in plain(path)}
    finally:
        shutil.rmtree(cold)
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["error"]["code"].endswith(("-failed", "-denied"))
    assert "Traceback" not in done.stderr
    assert wrong not in done.stdout + done.stderr
    assert base64.b64encode(f"{USER}:{wrong}".encode()).decode() not in done.stdout + done.stderr
    assert found_in((done.stdout + done.stderr).encode()) == set()
    assert held == set()


def test_show_of_settings_masks_them(built) -> None:
    bench, _, _, _, _ = built
    done = bench.run("config", "--json")
    assert done.returncode == 0, done.stderr
    assert found_in((done.stdout + done.stderr).encode()) == set()
