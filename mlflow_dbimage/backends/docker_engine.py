"""The Docker engine, by its own API: images in and out, names, and runs of images.

A container of a run has no network, a read-only root file system, no capabilities, and a user who is not root.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from mlflow_dbimage.backends.archive_stream import ArchiveStream
from mlflow_dbimage.backends.check_container import check_in_container
from mlflow_dbimage.backends.engine_container import run_container
from mlflow_dbimage.destinations.engine import EngineImage
from mlflow_dbimage.errors import InputError, ServiceError, disk_errors
from mlflow_dbimage.image_check import CheckLimits, CheckRun
from mlflow_dbimage.image_run import Ended, How, ScoreRequest
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image

_SECONDS_TO_ANSWER = 3
#: Between two signs of life; loading a large image is silent for long.
_SECONDS_OF_SILENCE = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine says of itself."""

    version: str
    storage_driver: str
    containerd_store: bool
    """Whether containerd keeps the images (the default of fresh installs of Docker 29)."""
    architecture: str
    rootless: bool
    """Whether the engine runs as a user, who is root in its containers."""
    remapped: bool
    """Whether users of containers are other users outside (`userns-remap`)."""


class DockerEngine:
    """An engine that answers.

    Args:
        client: Connected to it.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def find(cls) -> DockerEngine | None:
        """Find the engine of `DOCKER_HOST`, of Docker's current context, or the usual one, if it answers."""
        host, timeout = _context_host(), _SECONDS_TO_ANSWER
        try:
            if host is None:
                client = docker.from_env(version="auto", timeout=timeout)
            else:
                client = docker.DockerClient(base_url=host, version="auto", timeout=timeout)
        except (DockerException, requests.RequestException):
            return None
        client.api.timeout = _SECONDS_OF_SILENCE
        return cls(client)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def is_local(self) -> bool:
        """Whether the engine sees this machine's files, so that containers can be given them."""
        return str(self._client.api.base_url).startswith(("http+docker://", "http+unix://"))

    def info(self) -> EngineInfo:
        """Ask the engine what it is."""
        with engine_errors("asking the engine what it is"):
            info = self._client.info()
        security = " ".join(info.get("SecurityOptions") or ())
        return EngineInfo(
            version=info["ServerVersion"],
            storage_driver=info["Driver"],
            containerd_store="io.containerd.snapshotter" in str(info.get("DriverStatus")),
            architecture=info["Architecture"],
            rootless="name=rootless" in security,
            remapped="name=userns" in security,
        )

    def images(self, *, label: str) -> tuple[EngineImage, ...]:
        """List the images that have a label."""
        with engine_errors("listing images"):
            found = self._client.api.images(filters={"label": label})
        return tuple(
            EngineImage(
                identifier=each["Id"],
                names=tuple(name for name in each.get("RepoTags") or () if name != "<none>:<none>"),
                labels=dict(each.get("Labels") or {}),
                size=each["Size"],
            )
            for each in found
        )

    def has(self, image: Image) -> bool:
        """Whether the engine has an image: by the config's digest, or the manifest's with containerd's store."""
        for digest in (image.config_descriptor.digest, image.digest):
            with engine_errors("looking for an image"):
                try:
                    self._client.api.inspect_image(str(digest))
                except ImageNotFound:
                    continue
                return True
        return False

    def load(self, image: Image, names: Sequence[str]) -> int:
        """Load an image under names, and say how many bytes were sent.

        Layers that the classic store has already are not sent; if it wants them after all, everything is.

        Raises:
            ServiceError: `engine-failed`, the engine refuses it.
        """
        known = self._known_layers(image)
        if known:
            try:
                return self._send(image, names, known)
            except ServiceError:
                pass  # told of by the second attempt, if it fails too
        return self._send(image, names, frozenset())

    def tag(self, source: str, target: str) -> None:
        """Give an image a further name."""
        repository, _, tag = target.rpartition(":")
        with engine_errors(f"naming `{source}` `{target}`"):
            self._client.api.tag(source, repository, tag, force=True)

    def untag(self, name: str) -> None:
        """Take a name away; the image goes with its last. No error where there is no such name."""
        with engine_errors(f"removing `{name}`"):
            try:
                self._client.api.remove_image(name)
            except ImageNotFound:
                return

    def save(self, reference: str, target: Path) -> None:
        """Write an image to an archive.

        Raises:
            InputError: `base-not-found`, the engine has no such image.
        """
        with engine_errors(f"saving `{reference}`"):
            try:
                self._client.api.inspect_image(reference)
            except ImageNotFound:
                raise InputError(
                    "base-not-found", f"the Docker engine has no image `{reference}`", hint="pull or load it first"
                ) from None
            with disk_errors(), tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as aside:
                try:
                    for chunk in self._client.api.get_image(reference):
                        aside.write(chunk)
                    Path(aside.name).replace(target)
                finally:
                    Path(aside.name).unlink(missing_ok=True)

    def run_score(self, reference: str, request: ScoreRequest, report: Callable[[str], None]) -> Ended:
        """Run the scoring program of an image that the engine has, in a container."""
        info = self.info()
        with engine_errors(f"running `{reference}`"):
            return run_container(self._client, reference, request, _user(info), report)

    def run_check(self, reference: str, limits: CheckLimits) -> CheckRun:
        """Run the check of an image that the engine has, in a container."""
        with engine_errors(f"checking `{reference}`"):
            return check_in_container(self._client, reference, limits)

    def identifier(self, image: Image) -> str:
        """Return what the engine calls an image that it has."""
        containerd = self.info().containerd_store
        return str(image.digest if containerd else image.config_descriptor.digest)

    def _known_layers(self, image: Image) -> frozenset[Digest]:
        """Return the layers, from the bottom, that some image in the classic store begins with."""
        if self.info().containerd_store:
            return frozenset()
        ours = [str(layer.diff_id) for layer in image.layers]
        with engine_errors("listing images"):
            stored = [self._client.api.inspect_image(each["Id"]) for each in self._client.api.images()]
        chains = [each.get("RootFS", {}).get("Layers") or [] for each in stored]
        longest = max((_common_length(ours, chain) for chain in chains), default=0)
        return frozenset(layer.descriptor.digest for layer in image.layers[:longest])

    def _send(self, image: Image, names: Sequence[str], omit: frozenset[Digest]) -> int:
        stream = ArchiveStream(image, names, omit)
        with engine_errors("loading an image"):
            for message in self._client.api.load_image(iter(stream), quiet=True):
                if "error" in message:
                    raise ServiceError("engine-failed", f"the Docker engine refused the image: {message['error']}")
        if not self.has(image):
            raise ServiceError("engine-failed", "the Docker engine took the image, and has it not")
        return stream.sent


class EngineRunner:
    """Runs images in containers (`image_run.Runner`); an image that the engine lacks is loaded first.

    Args:
        engine: The engine.
    """

    how: How = "engine"
    remark: str | None = None

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def score(self, image: Image, request: ScoreRequest, report: Callable[[str], None]) -> Ended:
        """Run the scoring program of an image in a container."""
        if not self._engine.has(image):
            self._engine.load(image, ())
        return self._engine.run_score(self._engine.identifier(image), request, report)


def _common_length(ours: Sequence[str], chain: Sequence[str]) -> int:
    same = (left == right for left, right in zip(ours, chain, strict=False))
    return sum(1 for _ in takewhile(bool, same))


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Turn what goes wrong with an engine into a `ServiceError`.

    Args:
        what: Is being done.
    """
    try:
        yield
    except APIError as error:
        raise ServiceError("engine-failed", f"{what}: {error.explanation or error}") from error
    except (DockerException, requests.RequestException) as error:
        raise ServiceError(
            "engine-failed", f"{what}: the Docker engine does not answer: {error}", hint="is it running?"
        ) from error


def _user(info: EngineInfo) -> str:
    """Return the user of a run: the caller, or nobody where the caller is root.

    A rootless engine's root is the caller, who alone may write to the caller's folders.
    """
    if info.rootless:
        return "0:0"
    nobody = 65534
    return f"{os.getuid() or nobody}:{os.getgid() or nobody}"


def _context_host() -> str | None:
    """Return the host of Docker's current context, where `DOCKER_HOST` does not say more."""
    if os.environ.get("DOCKER_HOST"):
        return None
    folder = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    try:
        name = json.loads((folder / "config.json").read_text()).get("currentContext")
        if not name or name == "default":
            return None
        metas = [json.loads(path.read_text()) for path in folder.glob("contexts/meta/*/meta.json")]
        found = next(meta for meta in metas if meta["Name"] == name)
        return str(found["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, StopIteration):
        return None
