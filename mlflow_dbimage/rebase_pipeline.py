"""The same environment and model on another base: nothing is solved, installed or packed.

Our layers are pure additions, so they can be laid on any base that their environment runs on. They are taken from
the deployed image as they are, and opened only by a destination that lacks them. Two small ones are made anew,
since they are for one base: what hides its environment from an isolated one, and the launcher in its Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mlflow_dbimage import (
    base_fit,
    base_image,
    cluster_python,
    expected_output,
    image_evidence,
    layout_choice,
    model_image,
    model_reference,
    rebase_evidence,
)
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import BuildReceipt, ImageRecord, LayerRecord
from mlflow_dbimage.build_request import check_name
from mlflow_dbimage.cluster_python import ClusterPython
from mlflow_dbimage.destinations.deployment import Deployment, Destination
from mlflow_dbimage.errors import InputError, MatchError, disk_errors
from mlflow_dbimage.evidence.bill_of_materials import Package
from mlflow_dbimage.evidence.signing_key import Signer
from mlflow_dbimage.image_check import Mode
from mlflow_dbimage.image_evidence import Place, ProvenImage
from mlflow_dbimage.image_location import ImageLocation, parse_base
from mlflow_dbimage.image_proof import Candidate, ProofTools, expected_by
from mlflow_dbimage.model_layers import AddedLayer, LayerStyle, write_launcher, write_whiteouts
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image
from mlflow_dbimage.oci.referrer_store import ReferrerStore
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.publication import Publication, Publisher
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.settings import Settings
from mlflow_dbimage.verification import VerificationReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RebaseRequest:
    """A deployment that somebody wants on another base."""

    name: str
    """Of the deployment."""
    base: ImageLocation
    new_name: str
    """What the result is to be called."""
    runtime: str | None = None
    """Key of the runtime that the base is for; None where it is for the same one as the old base."""
    verify: Mode = "auto"
    """How far the result is proven before it gets its name."""
    expected_output: Path | None = None
    """A file of what the model should predict for its example."""
    sbom: str = "cyclonedx"
    """The form of the bill of materials: `cyclonedx`, `spdx` or `none`."""

    @classmethod
    def from_strings(
        cls, name: str, base: str, new_name: str | None, runtime: str | None, settings: Settings
    ) -> RebaseRequest:
        """Read a request from what a door got; without a new name, the result takes the name of the deployment.

        Raises:
            UsageError: `bad-location`, `bad-name`.
        """
        check_name(new_name or name, settings)
        return cls(
            name=name,
            base=parse_base(base),
            new_name=new_name or name,
            runtime=runtime,
            verify=settings.verify,
            expected_output=settings.expected_output,
            sbom=settings.sbom,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RebaseTools:
    """All effects of a rebase, joined by `backends`."""

    store: model_reference.ModelStore
    catalogue: Catalogue
    bases: base_image.BaseSources
    cache: BuildCache
    destination: Destination
    signer: Callable[[], Signer | None]
    """Opens the key that signs; None where nothing is signed."""
    proof: ProofTools
    progress: Progress


def rebase(request: RebaseRequest, tools: RebaseTools) -> BuildReceipt:
    """Lay the layers of a deployed image on another base, write the result, and name it last.

    Raises:
        InputError: `not-deployed`; `already-deployed`, the new name is taken, or the deployment was changed
            meanwhile; `cannot-rebase`; and as `base_image.fetch`.
        MatchError: `unknown-runtime`, `runtime-mismatch`.
        VerificationError: `not-trusted`, the result would be signed, and the image is not signed by that key.
    """
    started = time.monotonic()
    key = tools.signer()
    given = expected_output.read(request.expected_output) if request.expected_output else None
    deployed = _deployed(request.name, tools.destination)
    with disk_errors():
        image = tools.destination.image(request.name)
        old, layers = _parts(request.name, image)
        store = tools.destination.beside(request.name)
        rebase_evidence.must_be_signed(request.name, image.digest, store, key)
        base = base_image.fetch(
            request.base, Platform.parse(old.platform), tools.bases, tools.cache, tools.progress
        )
        _must_fit(old, image, base, tools)
        kept, layers = _fitted(old, layers, base, tools.cache)
        record = _record(kept, base, _runtime(request, old, tools.catalogue))
        moved = model_image.lay_on(base, layers, record)
        _must_be_free(request, tools.destination, moved)

        def ready(report: VerificationReport) -> tuple[str, ...]:
            _must_be_free(request, tools.destination, moved)
            _must_be_unchanged(deployed, tools.destination)
            proven = ProvenImage(
                image=moved,
                record=record,
                report=report,
                packages=lambda: _packages(store, image.digest, base, key),
                origin=lambda: rebase_evidence.origin_of(record, tools.store),
            )
            place = Place(name=request.new_name, store=tools.destination.beside(request.new_name))
            return image_evidence.attach(proven, place, request.sbom, key, tools.progress)

        publisher = Publisher(destination=tools.destination, mode=request.verify, tools=tools.proof)
        expected = partial(expected_by, given, moved, record, tools.cache)
        candidate = Candidate(image=moved, record=record, expected=expected)
        published = publisher.publish(request.new_name, candidate, ready)
        _note_image(record, published, moved, tools.store)
    notes = (_was_on(old, base), *published.notes)
    return _receipt(request.new_name, moved, published, record, notes=notes, seconds=time.monotonic() - started)


def _receipt(
    name: str,
    image: Image,
    published: Publication,
    record: ImageRecord,
    *,
    notes: tuple[str, ...],
    seconds: float,
) -> BuildReceipt:
    return BuildReceipt(
        name=name,
        reference=published.deployment.reference,
        digest=str(image.digest),
        tags=published.deployment.tags,
        record=record,
        image_size=sum(layer.descriptor.size for layer in image.layers),
        added_size=sum(layer.descriptor.size for layer in image.layers[record.base_layers :]),
        sent_size=published.written.sent,
        sent=published.written.note,
        environment_reused=True,
        verification=published.report.to_dict(),
        notes=notes,
        seconds=seconds,
    )


def _packages(
    store: ReferrerStore | None, old: Digest, base: BaseImage, key: Signer | None
) -> tuple[Package, ...] | None:
    """List what is in the image: the new base's system, and what the old image had above its own."""
    kept = None if store is None else rebase_evidence.packages_of(store, old, key)
    return None if kept is None else (*base.packages, *kept)


def _deployed(name: str, destination: Destination) -> Deployment:
    deployment = destination.deployment(name)
    if deployment is None:
        raise InputError("not-deployed", f"no deployment is named `{name}`", hint="name one that is deployed")
    return deployment


def _parts(name: str, image: Image) -> tuple[ImageRecord, tuple[Addition, ...]]:
    """Return the record of a deployed image, and our layers."""
    record = ImageRecord.from_labels(image.labels)
    layers = model_image.own_layers(image, record) if record is not None else None
    if record is None or layers is None:
        why = "its layers are not those of its record" if record else "it has no record that this version reads"
        raise InputError(
            "cannot-rebase",
            f"the image of `{name}` is not as mlflow-dbimage made it: {why}",
            hint="build it again on the new base",
        )
    return record, layers


def _must_fit(record: ImageRecord, image: Image, base: BaseImage, tools: RebaseTools) -> None:
    def read_python(of: Image) -> ClusterPython:
        return cluster_python.fetch(of, base.reference, tools.cache, tools.progress)

    reasons = base_fit.misfits(record, image, base, read_python)
    if reasons:
        raise InputError(
            "cannot-rebase",
            f"the image cannot be laid on `{base.reference}` as it is: {'; '.join(reasons)}",
            hint="build the model again on this base",
        )


def _fitted(
    old: ImageRecord, layers: tuple[Addition, ...], base: BaseImage, cache: BuildCache
) -> tuple[ImageRecord, tuple[Addition, ...]]:
    """Make the layers anew that are for one base: what hides its environment, and the launcher."""
    style = LayerStyle(
        directory=cache.directory("blobs"),
        compression=Compression.of_identity(old.compressor),
        parents=base.parents,
    )
    hides = old.env_layout == "isolated"  # what others hide is of their environment, which is the same on any base
    hidden = write_whiteouts(layout_choice.hidden_by_isolated(base), style) if hides else ()
    launcher = write_launcher(layout_choice.launcher_place(base), style)
    anew = {"launcher", "whiteouts"} if hides else {"launcher"}
    kept = [pair for pair in zip(old.layers, layers, strict=True) if pair[0].kind not in anew]
    place = sum(1 for record, _ in kept if record.kind not in ("scoring", "model"))
    laid = [*_recorded(hidden, cache), *kept[:place], *_recorded(launcher, cache), *kept[place:]]
    return replace(old, layers=tuple(each for each, _ in laid)), tuple(each for _, each in laid)


def _recorded(layers: tuple[AddedLayer, ...], cache: BuildCache) -> list[tuple[LayerRecord, Addition]]:
    additions = [model_image.addition(each, cache.open_blob) for each in layers]
    return list(zip(model_image.layer_records(layers), additions, strict=True))


def _runtime(request: RebaseRequest, record: ImageRecord, catalogue: Catalogue) -> str | None:
    if request.runtime is None:
        return record.runtime
    runtime = catalogue.get(request.runtime)
    if ".".join(record.python.split(".")[:2]) != runtime.python_minor:
        raise MatchError(
            "runtime-mismatch",
            f"the runtime `{runtime.key}` has Python {runtime.python_minor}, and the image {record.python}",
            hint="name the runtime that the base is for, or none where it is for the same one as before",
        )
    return runtime.key


def _record(old: ImageRecord, base: BaseImage, runtime: str | None) -> ImageRecord:
    return replace(
        old,
        runtime=runtime,
        base_reference=base.reference,
        base_digest=str(base.image.digest),
        base_layers=len(base.image.layers),
    )


def _must_be_free(request: RebaseRequest, destination: Destination, image: Image) -> None:
    """Refuse another name that is taken, but by this very image."""
    if request.new_name == request.name:
        return
    taken = destination.deployment(request.new_name)
    if taken is not None and taken.digest not in (str(image.digest), str(image.config_descriptor.digest)):
        raise InputError(
            "already-deployed",
            f"a deployment `{request.new_name}` exists: {taken.reference}",
            hint="choose another name, or delete that deployment first",
        )


def _must_be_unchanged(deployed: Deployment, destination: Destination) -> None:
    """Refuse to name an image that is made from what is no longer deployed."""
    now = destination.deployment(deployed.name)
    if now is None or now.digest != deployed.digest:
        raise InputError(
            "already-deployed",
            f"`{deployed.name}` was changed while it was rebased: it is {now.reference if now else 'deleted'} now",
            hint="rebase it again",
        )


def _note_image(
    record: ImageRecord, published: Publication, image: Image, store: model_reference.ModelStore
) -> None:
    if record.model_uri.startswith("models:/"):
        model, reference = model_reference.parse(record.model_uri), published.deployment.reference
        store.note_image(model, reference, str(image.digest), proven=published.report.proven)


def _was_on(old: ImageRecord, base: BaseImage) -> str:
    if old.base_digest == str(base.image.digest):
        return "the image was on this base already"
    return f"the image was on {old.base_reference}@{old.base_digest}"
