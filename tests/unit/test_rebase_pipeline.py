"""Layers on another base: the same as if they had been built on it, or refused for what would break."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fakes.faulty_registry import FaultyRegistry, faulty_registry
from mlflow_dbimage import attestation, cosign_tags, image_evidence, model_image, model_layers
from mlflow_dbimage.backends.signing_keys import signing_key
from mlflow_dbimage.base_image import BaseImage, fetch
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.destinations.deployment import Deployment, Destination, TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.destinations.registry import RegistryDestination
from mlflow_dbimage.errors import InputError, MatchError, VerificationError
from mlflow_dbimage.evidence.bill_of_materials import SPDX_TYPE, Package, read_packages
from mlflow_dbimage.evidence.signing_key import KeyPair
from mlflow_dbimage.image_evidence import Place, ProvenImage
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.layout_choice import hidden_by_isolated, launcher_place
from mlflow_dbimage.model_layers import AddedLayer, LayerStyle, write_launcher, write_whiteouts
from mlflow_dbimage.model_reference import FoundModel, ModelOrigin
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append
from mlflow_dbimage.oci.layer import write_layer
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.tar import TarEntry, directory_entry, file_entry, sorted_with_parents, write_tar
from mlflow_dbimage.progress import Progress, SilentProgress
from mlflow_dbimage.rebase_pipeline import RebaseRequest, RebaseTools, rebase
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.settings_sources import Surroundings, load
from mlflow_dbimage.verification import judge
from oci_samples import LINUX, image_of, plain_layer
from proof_tools import proof_tools
from signing_samples import key_pair
from unit.test_base_record import RECORD as GOLDEN
from unit.test_build_receipt import RECORD

QUIET = SilentProgress()
NO_BILL = "no bill of materials is attached: the image had none on its old base"
LIB = "databricks/python3/lib"


class Bases:
    """Base images by the name of their tarball."""

    def __init__(self, images: Mapping[str, Image]) -> None:
        self._images = images

    def open(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        return self._images[location.path.name]


class Store:
    """Takes note of the images that model versions are tagged with."""

    def __init__(self) -> None:
        self.noted: list[tuple[str | None, str | None, str]] = []

    def find(self, reference):
        return FoundModel(version=reference.version, run_id="9f")

    def origin(self, reference):
        return ModelOrigin(run_id=reference.run_id)

    def download(self, reference, directory):
        raise AssertionError("nothing is asked of MLflow")

    def note_image(self, reference, image: str, digest: str, *, proven: bool) -> bool:
        self.noted.append((reference.name, reference.version, digest))
        return True


def base(glibc: str = "2.36", *entries: TarEntry, platform: Platform = LINUX, seed: str = "") -> Image:
    """An image with a glibc of that version, and little else."""
    libc = f"GNU C Library (Debian GLIBC {glibc}-1) stable release version {glibc}.\n{seed}".encode()
    files = [file_entry("lib/x86_64-linux-gnu/libc.so.6", libc, 0o755), *entries]
    out = io.BytesIO()
    write_tar(sorted_with_parents(files, {}), out)
    image = image_of(plain_layer(out.getvalue()))
    config = image.config.replace(b'"architecture":"amd64"', f'"architecture":"{platform.architecture}"'.encode())
    return replace(image, config=config)


class Workshop:
    """A cache, bases, and images on them as a build makes them."""

    def __init__(self, folder: Path, images: Mapping[str, Image]) -> None:
        self.cache = BuildCache(folder / "cache")
        self.bases = Bases({f"{name}.tar": image for name, image in images.items()})
        self.store = Store()
        self.signer: Callable[[], KeyPair | None] = lambda: None

    def location(self, name: str) -> ImageLocation:
        return ImageLocation(transport="rootfs", path=Path(f"{name}.tar"))

    def base(self, name: str) -> BaseImage:
        return fetch(self.location(name), LINUX, self.bases, self.cache, QUIET)

    def image(self, name: str) -> tuple[Image, ImageRecord]:
        """The image that a build on that base gives."""
        on = self.base(name)
        style = LayerStyle(
            directory=self.cache.directory("blobs"), compression=Compression.GZIP, parents=on.parents
        )
        launcher = write_launcher(launcher_place(on), style)
        hidden = write_whiteouts(hidden_by_isolated(on), style)
        environment, scoring, model = (self._layer(on, kind) for kind in ("environment", "scoring", "model"))
        layers = [*hidden, environment, *launcher, scoring, model]
        record = replace(
            RECORD,
            base_reference=on.reference,
            base_digest=str(on.image.digest),
            base_layers=len(on.image.layers),
            parents=model_layers.stated_parents(on.parents, RECORD.environment_prefix),
            glibc=on.glibc,
            layers=model_image.layer_records(layers),
        )
        return model_image.assemble(on, layers, record, self.cache.open_blob), record

    def deploy(self, destination: Destination, name: str, on: str) -> Deployment:
        image, record = self.image(on)
        destination.write(name, image, QUIET)
        return destination.set_name(name, image, record)

    def rebase(self, destination: Destination, base: str, **wishes: str):
        request = {
            "name": "churn",
            "new_name": "churn",
            "base": self.location(base),
            "verify": "none",
            **wishes,
        }
        tools = RebaseTools(
            store=self.store,
            catalogue=Catalogue.load(),
            bases=self.bases,
            cache=self.cache,
            destination=destination,
            signer=self.signer,
            proof=proof_tools(self.cache),
            progress=QUIET,
        )
        return rebase(RebaseRequest(**request), tools)

    def _layer(self, on: BaseImage, kind: str) -> AddedLayer:
        entries = [file_entry(f"opt/dbimage/{kind}/file", kind.encode() * 500, 0o644)]
        written = write_layer(
            sorted_with_parents(entries, on.parents), self.cache.directory("blobs"), Compression.GZIP
        )
        return AddedLayer(
            kind=kind, descriptor=written.descriptor, diff_id=written.diff_id, title=kind, contents=(kind, "more")
        )


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    images = {
        "a": base(),
        "b": base(seed="b"),
        "newer": base("2.39"),
        "older": base("2.31"),
        "closed": base("2.31", directory_entry("opt", 0o700, 10, 20)),
        "python": base("2.36", directory_entry(f"{LIB}/python3.11/site-packages", 0o775, 0, 50)),
        "other-python": base("2.36", directory_entry(f"{LIB}/python3.12/site-packages")),
        "arm": base(platform=Platform("linux", "arm64")),
    }
    images["golden"] = append(base(seed="golden"), [], RunConfig(labels=GOLDEN.to_labels()))
    images["taken"] = append(images["b"], [], RunConfig(labels=RECORD.to_labels()))
    return Workshop(tmp_path, images)


@pytest.fixture
def layout(workshop: Workshop, tmp_path: Path) -> LayoutDestination:
    """A layout in which `churn` is deployed on the base `a`."""
    destination = LayoutDestination(tmp_path / "images", TagScheme(named=True))
    workshop.deploy(destination, "churn", "a")
    return destination


def test_it_is_the_image_that_a_build_on_the_new_base_gives(workshop: Workshop, layout: LayoutDestination) -> None:
    before = layout.deployment("churn")
    assert before is not None
    receipt = workshop.rebase(layout, "b")
    image, record = workshop.image("b")
    assert (receipt.digest, receipt.record) == (str(image.digest), record)
    assert receipt.notes == (f"the image was on rootfs:a.tar@{workshop.base('a').image.digest}", NO_BILL)
    now = layout.deployment("churn")
    assert now is not None
    assert (now.digest, now.record) == (str(image.digest), record)
    assert workshop.store.noted == [("churn", "3", str(image.digest))]


@pytest.mark.parametrize(
    ("before", "after"),
    [("a", "python"), ("python", "a"), ("python", "other-python"), ("python", "python")],
    ids=["it comes", "it goes", "it moves", "it stays"],
)
def test_the_launcher_is_for_the_python_of_the_new_base(
    workshop: Workshop, layout: LayoutDestination, before: str, after: str
) -> None:
    workshop.deploy(layout, "churn", before)
    receipt = workshop.rebase(layout, after)
    image, record = workshop.image(after)
    assert (receipt.digest, receipt.record) == (str(image.digest), record)
    assert layout.image("churn").manifest == image.manifest
    laid = [layer.contents for layer in record.layers if layer.kind == "launcher"]
    wanted = {"python": "python3.11", "other-python": "python3.12"}.get(after)
    assert laid == ([(f"the launcher in /{LIB}/{wanted}/site-packages",)] if wanted else [])


@pytest.mark.parametrize(("before", "after"), [("a", "golden"), ("golden", "a"), ("golden", "golden")])
def test_what_a_golden_base_has_at_the_place_of_the_environment_is_hidden(
    workshop: Workshop, layout: LayoutDestination, before: str, after: str
) -> None:
    workshop.deploy(layout, "churn", before)
    receipt = workshop.rebase(layout, after)
    image, record = workshop.image(after)
    assert (receipt.digest, receipt.record) == (str(image.digest), record)
    assert [layer.kind for layer in record.layers[:-3]] == (["whiteouts"] if after == "golden" else [])


def test_where_nothing_is_lacking_only_config_and_manifest_are_written(
    workshop: Workshop, layout: LayoutDestination
) -> None:
    workshop.deploy(layout, "other", "b")
    layout.delete("other")  # its layers stay for an hour, the new base's among them
    receipt = workshop.rebase(layout, "b")
    image = layout.image("churn")
    assert receipt.sent_size == len(image.config) + len(image.manifest)
    assert receipt.added_size == sum(layer.descriptor.size for layer in image.layers[1:])


def test_the_result_may_have_a_name_of_its_own(workshop: Workshop, layout: LayoutDestination) -> None:
    before = layout.deployment("churn")
    first = workshop.rebase(layout, "b", new_name="churn-b")
    assert first.name == "churn-b"
    assert layout.deployment("churn") == before
    assert workshop.rebase(layout, "b", new_name="churn-b").digest == first.digest
    with pytest.raises(InputError) as caught:
        workshop.rebase(layout, "newer", new_name="churn-b")
    assert caught.value.code == "already-deployed"


def test_twice_is_once_and_there_and_back_is_nothing(workshop: Workshop, layout: LayoutDestination) -> None:
    before = layout.image("churn")
    assert workshop.rebase(layout, "b").digest == workshop.rebase(layout, "b").digest
    receipt = workshop.rebase(layout, "a")
    assert layout.image("churn").manifest == before.manifest
    assert receipt.digest == str(before.digest)
    assert workshop.rebase(layout, "a").notes == ("the image was on this base already", NO_BILL)


def test_a_newer_glibc_will_do_and_what_was_solved_for_stays_known(
    workshop: Workshop, layout: LayoutDestination
) -> None:
    assert workshop.rebase(layout, "newer").record.glibc == "2.36"
    assert workshop.rebase(layout, "b").record.glibc == "2.36"


def test_a_base_on_which_it_would_break_is_refused_for_all_its_reasons(
    workshop: Workshop, layout: LayoutDestination
) -> None:
    before = layout.deployment("churn")
    with pytest.raises(InputError) as caught:
        workshop.rebase(layout, "closed")
    assert caught.value.code == "cannot-rebase"
    assert "its glibc is 2.31, and the environment was solved for 2.36" in caught.value.message
    assert "its `/opt` is 700 of 10:20, and the layers would make it 755 of 0:0" in caught.value.message
    assert caught.value.hint == "build the model again on this base"
    assert layout.deployment("churn") == before


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("older", "cannot-rebase", "its glibc is 2.31"),
        ("taken", "cannot-rebase", "it is the image of a model"),
        ("arm", "base-platform", "is for linux/arm64, but linux/amd64 is wanted"),
    ],
)
def test_other_bases_that_do_not_fit(
    workshop: Workshop, layout: LayoutDestination, name: str, code: str, says: str
) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        workshop.rebase(layout, name)
    assert caught.value.code == code


def test_the_runtime_stays_unless_another_is_named(workshop: Workshop, layout: LayoutDestination) -> None:
    assert workshop.rebase(layout, "b").record.runtime == "15.4-lts"
    assert workshop.rebase(layout, "b", runtime="15.1").record.runtime == "15.1"
    with pytest.raises(MatchError) as caught:
        workshop.rebase(layout, "b", runtime="16.4.x-scala2.12")
    assert "the runtime `16.4-lts` has Python 3.12, and the image 3.11.7" in caught.value.message
    with pytest.raises(MatchError):
        workshop.rebase(layout, "b", runtime="99.9")


def strange(image: Image, record: ImageRecord, change: str) -> tuple[Image, ImageRecord]:
    if change == "no record":
        return append(image, [], RunConfig(labels={"dev.dbimage.record": "{}"})), record
    if change == "a layer more":
        more = Addition(layer=plain_layer(b"x"), created_by="somebody")
        return append(image, [more], RunConfig()), record
    return append(image, [], RunConfig(labels=replace(record, layers=record.layers[1:]).to_labels())), record


@pytest.mark.parametrize("change", ["no record", "a layer more", "a record of fewer layers"])
def test_what_somebody_else_made_is_refused(workshop: Workshop, tmp_path: Path, change: str) -> None:
    destination = LayoutDestination(tmp_path / "strange", TagScheme(named=True))
    image, record = strange(*workshop.image("a"), change)
    destination.write("churn", image, QUIET)
    destination.set_name("churn", image, record)
    with pytest.raises(InputError, match="is not as mlflow-dbimage made it") as caught:
        workshop.rebase(destination, "b")
    assert caught.value.code == "cannot-rebase"


def test_what_is_not_deployed_is_named(workshop: Workshop, layout: LayoutDestination) -> None:
    with pytest.raises(InputError) as caught:
        workshop.rebase(layout, "b", name="chrun", new_name="chrun")
    assert caught.value.code == "not-deployed"


class Overtaken(LayoutDestination):
    """A layout in which somebody does something between writing and naming."""

    meanwhile: Callable[[], object]

    def write(self, name: str, image: Image, progress: Progress):
        written = super().write(name, image, progress)
        self.meanwhile()
        return written


@pytest.mark.parametrize("deed", ["deploys", "deletes"])
def test_a_deployment_that_changes_meanwhile_is_left_as_it_is(
    workshop: Workshop, layout: LayoutDestination, tmp_path: Path, deed: str
) -> None:
    destination = Overtaken(tmp_path / "images", TagScheme(named=True))
    deeds = {
        "deploys": partial(workshop.deploy, layout, "churn", "newer"),
        "deletes": partial(layout.delete, "churn"),
    }
    destination.meanwhile = deeds[deed]
    with pytest.raises(InputError, match="was changed while it was rebased") as caught:
        workshop.rebase(destination, "b")
    assert caught.value.code == "already-deployed"
    now = layout.deployment("churn")
    assert (now.digest if now else None) == (str(workshop.image("newer")[0].digest) if deed == "deploys" else None)


def test_in_a_registry_no_layer_is_fetched_and_only_the_config_is_sent(workshop: Workshop) -> None:
    with faulty_registry(FaultyRegistry()) as running:
        registry = Registry(running.host)
        destination = RegistryDestination(registry, "models", "{prefix}/{name}", TagScheme(named=False), LINUX)
        workshop.deploy(destination, "churn", "a")
        source = Repository(registry, "bases")
        source.push(workshop.base("b").image)
        on_b = source.image(str(workshop.base("b").image.digest), LINUX)
        workshop.bases = Bases({"b.tar": on_b})
        running.asked.clear()
        receipt = workshop.rebase(destination, "b", new_name="churn-b")
        configs = {str(destination.image(name).config_descriptor.digest) for name in ("churn", "churn-b")}
        asked = [(each.method, each.path.rpartition("/")[2]) for each in running.asked if "/blobs/" in each.path]
        assert {digest for method, digest in asked if method == "GET"} == configs
        sent = ["the config", "the provenance", "the empty config of what is attached"]
        assert [method for method, _ in asked].count("PATCH") == len(sent)
        assert receipt.sent == "1 blobs sent, 4 mounted, 0 were there"
        assert receipt.digest == str(workshop.image("b")[0].digest)


def test_a_bill_that_the_key_has_not_signed_is_not_signed_anew(
    workshop: Workshop, layout: LayoutDestination, tmp_path: Path
) -> None:
    key = signing_key(str(key_pair(tmp_path)[0]))
    image, record = workshop.image("a")
    package = Package(manager="pip", name="six", version="1.0", purl="pkg:pypi/six@1.0")
    held = ProvenImage(
        image=image, record=record, report=judge("none"), packages=lambda: (package,), origin=ModelOrigin
    )
    place = Place(name="churn", store=layout.beside("churn"))
    image_evidence.attach(held, place, "cyclonedx", None, QUIET)
    workshop.signer = lambda: key
    cosign_tags.sign_image(layout.beside("churn"), image.digest, "churn", key)
    receipt = workshop.rebase(layout, "b", new_name="unsigned")
    unsigned = "no bill of materials is attached: the image had none that the key has signed on its old base"
    assert receipt.notes[1:] == (unsigned,)
    image_evidence.attach(held, place, "cyclonedx", key, QUIET)
    moved = Digest.parse(workshop.rebase(layout, "b", new_name="signed").digest)
    assert read_packages(attestation.bill(layout.beside("signed"), moved, key=key)) == (package,)


def test_what_the_key_has_not_signed_is_not_signed_anew(
    workshop: Workshop, layout: LayoutDestination, tmp_path: Path
) -> None:
    mine, other = (signing_key(str(key_pair(tmp_path / name)[0])) for name in ("mine", "other"))
    image, _ = workshop.image("a")
    store = layout.beside("churn")
    workshop.signer = lambda: mine
    cosign_tags.sign_image(store, image.digest, "churn", other)
    workshop.bases = Bases({})  # it is refused before anything is fetched
    with pytest.raises(VerificationError, match="`churn` is not signed by the key") as caught:
        workshop.rebase(layout, "b")
    assert caught.value.code == "not-trusted"


def test_a_key_that_cannot_be_opened_costs_nothing(workshop: Workshop, layout: LayoutDestination) -> None:
    workshop.signer = partial(signing_key, "missing.key")
    workshop.bases = Bases({})
    with pytest.raises(InputError) as caught:
        workshop.rebase(layout, "b")
    assert caught.value.code == "bad-key"


def test_a_request_is_read_from_texts(tmp_path: Path) -> None:
    settings = load({}, surroundings=Surroundings(environment={}, directory=tmp_path, user_file=tmp_path / "none"))
    request = RebaseRequest.from_strings("churn", "rootfs:b.tar", None, None, settings)
    assert (request.new_name, request.base.transport) == ("churn", "rootfs")


def test_what_it_holds_is_what_it_held_on_the_system_of_the_new_base(
    workshop: Workshop, layout: LayoutDestination
) -> None:
    image, record = workshop.image("a")
    store = layout.beside("churn")
    ours = Package(manager="pip", name="six", version="1.0", purl="pkg:pypi/six@1.0", licence="MIT")
    theirs = Package(manager="system", name="old", version="1", purl="pkg:deb/debian/old@1")
    held = ProvenImage(
        image=image, record=record, report=judge("none"), packages=lambda: (ours, theirs), origin=ModelOrigin
    )
    assert image_evidence.attach(held, Place(name="churn", store=store), "cyclonedx", None, QUIET) == ()
    receipt = workshop.rebase(layout, "b", sbom="spdx")
    assert len(receipt.notes) == 1
    moved = Digest.parse(receipt.digest)
    assert read_packages(attestation.bill(store, moved)) == (ours,)
    assert b'"six"' in attestation.bill(store, moved, SPDX_TYPE)
    made = attestation.read_statement(store, moved, "provenance")
    dependencies = {each["name"]: each for each in made.predicate["buildDefinition"]["resolvedDependencies"]}
    assert dependencies["base image"]["digest"] == {"sha256": workshop.base("b").image.digest.hex}
    assert dependencies["run"]["uri"] == "runs:/9f"
