"""Images that are broken on purpose, and good ones: each is published as a build publishes it.

One environment is built for all. An image is the model of a case on it, laid on a small base, and broken as the
case says. What is broken never gets the name, and its cause is told in one line.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from checked_models import checked_model
from light_build import DBIMAGE
from mlflow_dbimage import reference_check
from mlflow_dbimage.backends.docker_engine import DockerEngine
from mlflow_dbimage.backends.engine_check import EngineChecker
from mlflow_dbimage.backends.kept_roots import KeptRoots
from mlflow_dbimage.backends.namespace_check import NamespaceChecker
from mlflow_dbimage.backends.packed_check import PackedChecker
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.errors import VerificationError
from mlflow_dbimage.image_check import Checker
from mlflow_dbimage.image_proof import Candidate
from mlflow_dbimage.model_layers import MODEL_PATH
from mlflow_dbimage.oci.compression import open_decompressed
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, additions_of, append
from mlflow_dbimage.oci.tar import TarEntry, file_entry, symlink_entry
from mlflow_dbimage.publication import Publisher
from proof_tools import proof_tools
from sandboxes import sandbox
from score_images import layer_of, system_base

pytestmark = [pytest.mark.slow, pytest.mark.channel]

REQUIREMENTS = ("mlflow-skinny==3.1.4", "pandas")
Change = Callable[[str, bytes], bytes | None]
"""What becomes of a file, by path and content; None for one that goes."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A good image, what it was built in, and a name that it has."""

    folder: Path
    cache: BuildCache
    image: Image

    @property
    def record(self) -> ImageRecord:
        found = ImageRecord.from_labels(self.image.labels)
        assert found is not None
        return found

    @property
    def destination(self) -> LayoutDestination:
        return LayoutDestination(self.folder / "images", TagScheme(named=True))

    def checker(self) -> NamespaceChecker:
        return NamespaceChecker(KeptRoots(self.cache))

    def packed(self) -> PackedChecker:
        return PackedChecker(KeptRoots(self.cache), self.cache.directory("work"), sandbox)

    def with_model(self, kind: str, **more: object) -> Candidate:
        """The image with another model in the place of its own."""
        folder = Path(tempfile.mkdtemp(dir=self.folder)) / "model"
        model = checked_model(folder, kind, requirements=REQUIREMENTS, **more)  # type: ignore[arg-type]
        files = [path for path in sorted(model.rglob("*")) if path.is_file()]
        entries = [file_entry(f"{MODEL_PATH[1:]}/{path.relative_to(model)}", path, 0o644) for path in files]
        digest = str(Digest.of(kind.encode() + repr(more).encode()))
        return self.candidate([*self.image.layers[self.record.base_layers : -1], self.layer(*entries)], digest)

    def with_files(self, kind: str, change: Change) -> Candidate:
        """The image with other files in its layers of a kind."""
        own = zip(self.record.layers, self.image.layers[self.record.base_layers :], strict=True)
        layers = [self._changed(layer, change) if each.kind == kind else layer for each, layer in own]
        return self.candidate(layers)

    def candidate(self, layers: Iterable[Layer], model: str | None = None) -> Candidate:
        """An image of these layers whose record says so."""
        old = self.record
        additions = [
            replace(addition, layer=layer)
            for addition, layer in zip(additions_of(self.image, old.base_layers), layers, strict=True)
        ]
        described = tuple(
            replace(
                each,
                digest=str(addition.layer.descriptor.digest),
                diff_id=str(addition.layer.diff_id),
                size=addition.layer.descriptor.size,
            )
            for each, addition in zip(old.layers, additions, strict=True)
        )
        record = replace(old, layers=described, model_digest=model or old.model_digest)
        return Candidate(image=self._laid(additions, record), record=record, expected=lambda: None)

    def layer(self, *entries: TarEntry) -> Layer:
        return layer_of(self.folder / "blobs", *entries)

    def _laid(self, additions: list[Addition], record: ImageRecord) -> Image:
        base = replace(self.image, layers=self.image.layers[: record.base_layers])
        config = json.loads(base.config)
        config["rootfs"]["diff_ids"] = [str(layer.diff_id) for layer in base.layers]
        config["history"] = config["history"][: record.base_layers]
        run = RunConfig(labels=record.to_labels())
        return append(replace(base, config=json.dumps(config).encode()), additions, run)

    def _changed(self, layer: Layer, change: Change) -> Layer:
        with layer.open() as blob:
            plain = open_decompressed(blob, layer.descriptor.media_type).read()
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            return self.layer(*_entries(archive, change))


def _entries(archive: tarfile.TarFile, change: Change) -> Iterator[TarEntry]:
    for member in archive:
        stream = archive.extractfile(member) if member.isreg() else None
        if member.issym():
            yield symlink_entry(member.name, member.linkname)
        elif stream is not None:
            content = change(member.name, stream.read())
            if content is not None:
                yield file_entry(member.name, content, member.mode)


def _built(folder: Path, base: Path, model: Path, cache: Path) -> None:
    target = f"oci:{folder}/images"
    command = [*DBIMAGE, "build", str(model), "--name", "churn", "-t", target, "-C", f"base_image=rootfs:{base}"]
    done = subprocess.run(
        [*command, "-C", "verify=auto", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DBIMAGE_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verification"]["outcome"] == "passed", done.stdout


@pytest.fixture(scope="module")
def workshop(conda_channel, shared_cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    model = checked_model(folder / "model", "good", requirements=REQUIREMENTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBIMAGE_CHANNEL_MAP", f"conda-forge={conda_channel.url},defaults={conda_channel.url}")
        _built(folder, system_base(folder / "base.tar"), model, shared_cache_dir)
    image = LayoutDestination(folder / "images", TagScheme(named=True)).image("churn")
    return Workshop(folder=folder, cache=BuildCache(shared_cache_dir), image=image)


def _publish(workshop: Workshop, candidate: Candidate, *checkers: Checker) -> list[tuple[str, str]]:
    """Publish under the name of the good image, and return the outcome of every check."""
    tools = proof_tools(workshop.cache, *(checkers or (workshop.checker(),)))
    publisher = Publisher(destination=workshop.destination, mode="auto", tools=tools)
    report = publisher.publish("churn", candidate, lambda report: ()).report
    return [(check.name, check.outcome) for check in report.checks]


def _stale(path: str, data: bytes) -> bytes:
    return data + b"\n# changed\n" if path.endswith("site-packages/pandas/__init__.py") else data


def _of_another_python(path: str, data: bytes) -> bytes:
    wanted = "site-packages/pandas/__pycache__/__init__.cpython"
    return (3394).to_bytes(2, "little") + data[2:] if wanted in path else data


def _swapped(path: str, data: bytes) -> bytes:
    """The version of a package as if another one had been installed after the lock."""
    return (
        data.replace(b"\nVersion: ", b"\nVersion: 999.") if "/six-" in path and path.endswith("METADATA") else data
    )


def _without_a_module(path: str, data: bytes) -> bytes | None:
    return None if "/site-packages/dateutil/" in path else data


def _closed(workshop: Workshop) -> Candidate:
    model = workshop.folder / "model" / "MLmodel"
    entry = file_entry(f"{MODEL_PATH[1:]}/MLmodel", model, 0o600)
    layers = workshop.image.layers[workshop.record.base_layers : -1]
    return workshop.candidate([*layers, workshop.layer(entry)])


def _lying(workshop: Workshop) -> Candidate:
    last = workshop.image.layers[-1]
    layers = workshop.image.layers[workshop.record.base_layers : -1]
    return workshop.candidate([*layers, replace(last, diff_id=Digest.of(b"another"))])


def _with_reference(workshop: Workshop, candidate: Candidate) -> Candidate:
    """Have the good model's reference count as that of another one."""
    lock = Digest.parse(workshop.record.lock_digest)
    kept = workshop.cache.record(
        "references", reference_check._key(lock, Digest.parse(workshop.record.model_digest))
    )
    assert kept is not None
    reference_check.keep(workshop.cache, candidate.lock, candidate.model, kept)
    return candidate


LIBRARY = "import ctypes\nctypes.CDLL('libgomp.so.1')"
BROKEN: dict[str, tuple[Callable[[Workshop], Candidate], str]] = {
    "a library is missing": (
        lambda workshop: workshop.with_model("good", code__checked_loader_DOT_py=LIBRARY),
        "the shared library `libgomp.so.1` is missing: Debian's package `libgomp1` has it",
    ),
    "a package was swapped": (
        lambda workshop: workshop.with_files("environment", _swapped),
        "version mismatch: the image has `six` 999.",
    ),
    "a module is missing": (
        lambda workshop: workshop.with_files("environment", _without_a_module),
        "the module `dateutil` is missing",
    ),
    "byte code is stale": (
        lambda workshop: workshop.with_files("environment", _stale),
        "was compiled from another source than the one beside it",
    ),
    "byte code is of another Python": (
        lambda workshop: workshop.with_files("environment", _of_another_python),
        "is byte code of another Python",
    ),
    "it needs the network": (
        lambda workshop: workshop.with_model("network-at-load"),
        "the model needs the network: it asked for `features.example`",
    ),
    "it predicts otherwise": (
        lambda workshop: _with_reference(workshop, workshop.with_model("other")),
        "different prediction: row",
    ),
    "it writes to its own directory": (
        lambda workshop: workshop.with_model("own-directory"),
        "last.log",
    ),
    "its user cannot read it": (_closed, "`/opt/dbimage/model/MLmodel` cannot be read by the scoring user"),
    "a diff ID lies": (_lying, "its tar stream has the diff ID"),
}
GOOD = {
    "random": {},
    "by-hash": {},
    "changes-its-input": {},
    "network-if-there-is": {},
    "loopback": {},
    "own-directory-if-it-can": {},
}


@pytest.mark.namespaces
@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_gets_no_name_and_its_cause_is_one_line(workshop: Workshop, case: str):
    make, cause = BROKEN[case]
    before = dict(workshop.destination._layout.tags())
    with pytest.raises(VerificationError) as caught:
        _publish(workshop, make(workshop))
    assert caught.value.code == "not-proven"
    assert cause in str(caught.value.details["verification"]["cause"])
    assert "\n" not in caught.value.message
    assert workshop.destination._layout.tags() == before


@pytest.mark.namespaces
@pytest.mark.parametrize("kind", GOOD)
def test_what_is_good_gets_its_name(workshop: Workshop, kind: str):
    checks = _publish(workshop, workshop.with_model(kind))
    assert not [name for name, outcome in checks if outcome == "failed"]
    assert ("predict", "passed") in checks


@pytest.mark.namespaces
def test_without_an_example_rows_are_made_from_the_signature(workshop: Workshop):
    assert ("predict", "passed") in _publish(workshop, workshop.with_model("good", example=None))


@pytest.mark.namespaces
def test_without_a_reference_the_layers_alone_make_one(workshop: Workshop):
    candidate = replace(workshop.with_model("good", note__txt="another model"), built=True)
    assert ("reference", "passed") in _publish(workshop, candidate, workshop.checker(), workshop.packed())
    assert reference_check.find(workshop.cache, candidate.lock, candidate.model) is not None


def test_without_namespaces_the_layers_alone_are_checked(workshop: Workshop):
    checks = _publish(workshop, workshop.candidate(_own(workshop)), workshop.packed())
    assert ("reference", "passed") in checks


@pytest.mark.engine
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_an_engine_the_good_passes_and_the_broken_does_not(workshop: Workshop, engine_found):
    engine = DockerEngine.find()
    assert engine is not None
    checker = EngineChecker(lambda: engine)
    assert ("reference", "passed") in _publish(workshop, workshop.candidate(_own(workshop)), checker)
    make, cause = BROKEN["a library is missing"]
    with pytest.raises(VerificationError) as caught:
        _publish(workshop, make(workshop), checker)
    engine.close()
    assert cause in str(caught.value.details["verification"]["cause"])


def _own(workshop: Workshop) -> tuple[Layer, ...]:
    return workshop.image.layers[workshop.record.base_layers :]
