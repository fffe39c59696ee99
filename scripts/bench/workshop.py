"""Where the benchmark works: a folder in `.cache`, a registry, a Docker engine, MLflow's registry with models.

The registry and the engine are the tests' own (`tests/services`). What is downloaded is kept from one run to the
next; all else is made anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sample_models
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.rootfs import rootfs_image
from mlflow_dbimage.oci.tar import file_entry, sorted_with_parents
from sample_models.conda_channel import make_channel
from scripts.bench.counting import Count, counted
from scripts.bench.meter import Finished, run
from services.debian_base import debian_base
from services.docker_engine import docker_engine
from services.registry_server import registry_server
from services.requirements import why_not

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = ROOT / ".cache" / "bench"
SAMPLE = "sklearn-churn"
MODEL = "churn"
DBIMAGE = (sys.executable, "-c", "from plugin_entrypoints.cli import main; main()")
_LINUX = Platform("linux", "amd64")
# Of a build cache: what only holds what was downloaded, and what that unpacks to.
_DOWNLOADS = ("conda", "uv", "unpacked", "wheels")
# Of a build cache: what it knows of bases.
_OF_BASES = ("bases", "inventories")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryState:
    """What a registry's folder held at some moment."""

    blobs: frozenset[str]
    repositories: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A registry and the folder that it keeps everything in."""

    count: Count
    """What was sent to it."""
    folder: Path

    @property
    def host(self) -> str:
        """Its address, `127.0.0.1:port`, at which what is sent to it is counted."""
        return "{}:{}".format(*self.count.address)

    def blobs(self) -> dict[str, int]:
        """Return the size of each blob, by digest."""
        return {path.parent.name: path.stat().st_size for path in self._blobs.glob("sha256/*/*/data")}

    def state(self) -> RegistryState:
        """Remember what it holds."""
        top = {path.name for path in self._repositories.iterdir()} if self._repositories.exists() else set()
        return RegistryState(blobs=frozenset(self.blobs()), repositories=frozenset(top))

    def forget_since(self, state: RegistryState) -> None:
        """Take away what came after a moment; repositories are taken or left whole."""
        for path in list(self._blobs.glob("sha256/*/*")):
            if path.name not in state.blobs:
                shutil.rmtree(path)
        for path in list(self._repositories.iterdir()):
            if path.name not in state.repositories:
                shutil.rmtree(path)

    @property
    def _blobs(self) -> Path:
        return self.folder / "data" / "docker" / "registry" / "v2" / "blobs"

    @property
    def _repositories(self) -> Path:
        return self.folder / "data" / "docker" / "registry" / "v2" / "repositories"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """All that scenarios need."""

    folder: Path
    """For this run; deleted at its end."""
    store: Store
    engine: str | None
    """`DOCKER_HOST`, or None where no engine runs here."""
    no_engine: str | None
    """Why none does."""
    channel: str
    rootfs: Path
    tracking_uri: str

    @property
    def _models(self) -> Any:
        import mlflow  # seconds

        return mlflow.MlflowClient(self.tracking_uri, self.tracking_uri)

    @property
    def base(self) -> str:
        """The base image, in the registry."""
        return f"//{self.store.host}/bases/debian:bookworm"

    @property
    def patched_base(self) -> str:
        """The base with one layer more, as a site gets it that mends a fault in it."""
        return f"//{self.store.host}/bases/debian:patched"

    @property
    def target(self) -> str:
        """Where images go."""
        return f"//{self.store.host}/models"

    def variables(self, cache: Path, **more: str) -> dict[str, str]:
        """Return the variables of a command of ours."""
        steering = ("DBIMAGE_", "MLFLOW_", "DOCKER_")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(steering)},
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DBIMAGE_CACHE_DIR": str(cache),
            "DBIMAGE_CHANNEL_MAP": f"conda-forge={self.channel},defaults={self.channel}",
            "DBIMAGE_BASE_IMAGE": self.base,
            "DBIMAGE_TARGET": self.target,
            "DBIMAGE_VERIFY": "static",
            "DOCKER_HOST": f"unix://{self.folder}/no-engine.sock",
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "configuration"),
            **self._installers(),
            **more,
        }

    def _installers(self) -> dict[str, str]:
        # Where the user's own configuration says which index there is, it holds here too.
        own = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
        places = {"UV_CONFIG_FILE": own / "uv" / "uv.toml", "PIP_CONFIG_FILE": own / "pip" / "pip.conf"}
        return {name: str(path) for name, path in places.items() if path.exists() and name not in os.environ}

    def dbimage(
        self, *words: str, cache: Path, cores: frozenset[int] | None = None, more: Mapping[str, str] | None = None
    ) -> tuple[Finished, dict[str, Any]]:
        """Run a command of ours, and return what it cost and the JSON that it said."""
        done = run(
            [*DBIMAGE, *words, "--json"],
            environment={**self.variables(cache), **(more or {})},
            directory=self.folder,
            cores=cores,
        )
        return done, dict(json.loads(done.output))

    def version(self, number: int) -> str:
        """Return the URI of a version of the model."""
        return f"models:/{MODEL}/{number}"

    def register(self, *, lines: tuple[tuple[str, str], ...] = ()) -> str:
        """Register one more version of the model, with some of its requirement `lines` replaced."""
        client = self._models
        versions = len(client.search_model_versions(f"name='{MODEL}'"))
        if versions == 0:
            client.create_registered_model(MODEL)
        directory = self.folder / "models" / str(versions + 1)
        shutil.copytree(self.folder / "models" / "made", directory)
        (directory / "notes.txt").write_text(f"version {versions + 1}\n")
        for name in ("conda.yaml", "requirements.txt"):
            text = (directory / name).read_text()
            for old, new in lines:
                assert old in text, f"{old} is not in {name}"
                text = text.replace(old, new)
            (directory / name).write_text(text)
        client.create_model_version(MODEL, str(directory))
        return self.version(versions + 1)

    def empty_cache(self, name: str, *, downloads: bool = True, like: Path | None = None) -> Path:
        """Make a build cache.

        Args:
            name: Of its folder.
            downloads: Whether it has what was downloaded.
            like: A cache that knows the base; by default nothing is known.
        """
        cache = self.folder / "caches" / name
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        for part in _DOWNLOADS if downloads else ():
            (KEPT / "downloads" / part).mkdir(parents=True, exist_ok=True)
            (cache / part).symlink_to(KEPT / "downloads" / part)
        for kind in _OF_BASES if like is not None else ():
            assert like is not None
            if (like / "records" / kind).exists():
                shutil.copytree(like / "records" / kind, cache / "records" / kind)
        return cache

    def copied_cache(self, source: Path, name: str) -> Path:
        """Copy a cache; its files are linked, since caches rename whole files into place."""
        target = self.folder / "caches" / name
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", "--link", str(source), str(target)], check=True)
        return target


@contextmanager
def opened() -> Iterator[Workshop]:
    """Open the workshop: services run as long as the context lasts."""
    folder = (KEPT / "work").resolve()  # engines do not take a root behind a symbolic link
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "configuration").mkdir(parents=True)
    no_registry = why_not("registry") or why_not("base")
    if no_registry is not None:
        sys.exit(f"the benchmark cannot run: it {no_registry}")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = stack.enter_context(registry_server(folder / "registry"))
        no_engine = why_not("engine")
        engine = None if no_engine else stack.enter_context(docker_engine(folder / "engine")).host
        host, _, port = running.host.partition(":")
        count = stack.enter_context(counted(("127.0.0.1", 0), (host, int(port))))
        workshop = Workshop(
            folder=folder,
            store=Store(count=count, folder=folder / "registry"),
            engine=engine,
            no_engine=no_engine,
            channel=make_channel(KEPT / "channel").url,
            rootfs=debian_base(KEPT / "base"),
            tracking_uri=f"sqlite:///{folder}/mlflow.db",
        )
        _push_bases(workshop)
        sample_models.make(SAMPLE, folder / "models" / "made")
        workshop.register()
        yield workshop


def _push_bases(workshop: Workshop) -> None:
    blobs = workshop.folder / "blobs"
    blobs.mkdir()
    repository = Repository(Registry(workshop.store.host), "bases/debian")
    base = rootfs_image(workshop.rootfs, _LINUX, blobs, Compression.named("gzip"))
    for tag, image in (("bookworm", base), ("patched", _patched(base, blobs))):
        repository.push(image)
        repository.put_manifest(tag, image.manifest, image.media_type)
    shutil.rmtree(blobs)


def _patched(base: Image, blobs: Path) -> Image:
    entries = sorted_with_parents([file_entry("etc/patched", b"yes\n", 0o644)], {})
    layer = as_layer(write_layer(entries, blobs, Compression.named("gzip")))
    return append(base, [Addition(layer=layer, created_by="a patch")], RunConfig())
