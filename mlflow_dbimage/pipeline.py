"""The order of the steps, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from mlflow_dbimage import (
    base_image,
    cluster_lock,
    cluster_python,
    expected_output,
    image_evidence,
    layer_prediction,
    layout_choice,
    locked_env,
    model_image,
    model_layers,
    model_reference,
    model_spec,
    runtime_match,
)
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.build_plan import BuildPlan
from mlflow_dbimage.build_receipt import BuildReceipt, ImageRecord
from mlflow_dbimage.build_request import BuildRequest
from mlflow_dbimage.cluster_lock import ClusterLock
from mlflow_dbimage.destinations.deployment import Destination
from mlflow_dbimage.environment_layers import EnvironmentLayers, EnvironmentMakers, EnvironmentWish, obtain
from mlflow_dbimage.errors import InputError, disk_errors
from mlflow_dbimage.evidence.signing_key import Signer
from mlflow_dbimage.image_evidence import Inside, Place, ProvenImage
from mlflow_dbimage.image_proof import Candidate, ProofTools
from mlflow_dbimage.layout_choice import LayoutWish
from mlflow_dbimage.model_layers import AddedLayer, LayerStyle
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.publication import Publisher
from mlflow_dbimage.runtimes import Catalogue
from mlflow_dbimage.shared_cache import SharedCache
from mlflow_dbimage.verification import VerificationReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """All effects of a build, joined by `backends`."""

    store: model_reference.ModelStore
    catalogue: Catalogue
    bases: base_image.BaseSources
    solver: locked_env.Solver
    makers: EnvironmentMakers
    shared: SharedCache
    """The cache of `makers` and `proof`, and what other machines have left behind it."""
    destination: Destination
    signer: Callable[[], Signer | None]
    """Opens the key that signs; None where nothing is signed."""
    proof: ProofTools
    progress: Progress


@contextmanager
def plan(request: BuildRequest, tools: Tools) -> Iterator[BuildPlan]:
    """Decide all of a build: model, runtime, base and packages. What was downloaded goes with the context."""
    with disk_errors(), tools.makers.cache.work_directory() as work:
        reference = model_reference.pin(model_reference.parse(request.model_uri), tools.store)
        with tools.progress.step(f"downloading {reference.pinned_uri}"):
            tools.store.download(reference, work / "model")
        spec = model_spec.read(reference, work / "model")
        match = runtime_match.match(spec, request.runtime, request.base_image, tools.catalogue, request.site_bases)
        base = base_image.fetch(match.base, request.platform, tools.bases, tools.makers.cache, tools.progress)
        wish = LayoutWish(
            wanted=request.env_layout, environment=spec.environment, base=base, platform=request.platform
        )
        layout = layout_choice.choose(
            wish,
            lambda kept: locked_env.lock_once(
                spec.environment,
                request.environment_options(base.glibc, kept),
                tools.solver,
                tools.makers.cache,
                tools.progress,
            ),
            lambda: _lock_in_cluster(request, spec, base, tools),
        )
        yield BuildPlan(
            reference=reference,
            spec=spec,
            match=match,
            base=base,
            layout=layout,
            layers=layer_prediction.predict_layers(layout.brought, spec, request.layers),
            pickle_notes=model_spec.check_pickle(spec, layout.locked, layout.in_base),
            work=work,
        )


def build(request: BuildRequest, tools: Tools) -> BuildReceipt:
    """Build the image that is asked for, write it to its destination, prove it, and name it last."""
    started = time.monotonic()
    key = tools.signer()  # a wrong one ends the build before it costs anything
    _check_name(request, tools.destination, None)
    with plan(request, tools) as planned, disk_errors():
        expected = expected_output.wanted(request.expected_output, planned.spec.directory)
        style = _style(request, planned, tools)
        environment = _environment(request, planned, style, tools)
        layers = (
            *model_layers.write_whiteouts(planned.layout.hidden, style),
            *environment.layers,
            *model_layers.write_launcher(layout_choice.launcher_place(planned.base), style),
            model_layers.write_scoring(style, planned.layout.prefix),
            *model_layers.write_model(planned.spec, style),
        )
        record = _record(planned, environment, layers, style)
        assembled = model_image.assemble(planned.base, layers, record, _opener(request.name, layers, tools))
        image = tools.shared.with_origins(assembled)

        def ready(report: VerificationReport) -> tuple[str, ...]:
            _check_name(request, tools.destination, image)
            proven = ProvenImage(
                image=image,
                record=record,
                report=report,
                packages=_inside(planned, environment).packages,
                origin=lambda: tools.store.origin(planned.reference),
            )
            place = Place(name=request.name, store=tools.destination.beside(request.name))
            return image_evidence.attach(proven, place, request.sbom, key, tools.progress)

        candidate = Candidate(image=image, record=record, expected=lambda: expected, built=True)
        published = _publisher(request, tools).publish(request.name, candidate, ready)
        reference, proven = published.deployment.reference, published.report.proven
        tools.store.note_image(planned.reference, reference, str(image.digest), proven=proven)
        shared = (*tools.shared.notes, *tools.shared.share(request.name))
        return BuildReceipt(
            name=request.name,
            reference=reference,
            digest=str(image.digest),
            tags=published.deployment.tags,
            record=record,
            image_size=sum(layer.descriptor.size for layer in image.layers),
            added_size=sum(layer.descriptor.size for layer in layers),
            sent_size=published.written.sent,
            sent=published.written.note,
            environment_reused=environment.reused,
            verification=published.report.to_dict(),
            notes=(*planned.notes, *environment.notes, *published.notes, *shared),
            seconds=time.monotonic() - started,
        )


def _inside(planned: BuildPlan, environment: EnvironmentLayers) -> Inside:
    return Inside(
        system=planned.base.packages,
        locked=planned.locked,
        licences=environment.licences,
        in_base=planned.layout.in_base,
    )


def _lock_in_cluster(request: BuildRequest, spec: ModelSpec, base: BaseImage, tools: Tools) -> ClusterLock:
    cache, progress = tools.makers.cache, tools.progress
    return cluster_lock.lock_once(
        spec.environment,
        request.environment_options(base.glibc),
        cluster_python.fetch(base.image, base.reference, cache, progress),
        tools.solver,
        cache=cache,
        progress=progress,
    )


def _check_name(request: BuildRequest, destination: Destination, image: Image | None) -> None:
    """Hold the wish to create or update against what is deployed: before any work, and again before naming.

    Before any work the destination is asked whatever the wish is: that it does not answer shall show then.
    """
    if image is not None and request.mode == "replace":
        return
    deployed = destination.deployment(request.name)
    if request.mode == "create" and deployed is not None and _differs(deployed.digest, image):
        raise InputError(
            "already-deployed",
            f"a deployment `{request.name}` exists: {deployed.reference}",
            hint="update it, delete it first, or choose another name",
        )
    if request.mode == "update" and deployed is None:
        raise InputError(
            "not-deployed", f"no deployment `{request.name}` exists to update", hint="create it first"
        )


def _differs(digest: str, image: Image | None) -> bool:
    """Whether what is deployed is not the image that another build of the same model may just have named."""
    return image is None or digest not in (str(image.digest), str(image.config_descriptor.digest))


def _opener(name: str, layers: Sequence[AddedLayer], tools: Tools) -> Callable[[Digest], BinaryIO]:
    """Return what opens our layers: from the cache, or from the destination where they were before."""
    cache = tools.makers.cache
    blobs = {layer.descriptor.digest: layer.descriptor for layer in layers}

    def opened(digest: Digest) -> BinaryIO:
        if cache.blob_path(digest).is_file():
            return cache.open_blob(digest)
        if tools.shared.lends(digest):
            return tools.shared.open_lent(digest)
        return tools.destination.open_blob(name, blobs[digest])

    return opened


def _publisher(request: BuildRequest, tools: Tools) -> Publisher:
    return Publisher(destination=tools.destination, mode=request.verify, tools=tools.proof)


def _style(request: BuildRequest, planned: BuildPlan, tools: Tools) -> LayerStyle:
    return LayerStyle(
        directory=tools.makers.cache.directory("blobs"),
        compression=Compression.named(request.compression),
        parents={**planned.base.parents, **(planned.layout.cluster.folders if planned.layout.cluster else {})},
    )


def _environment(request: BuildRequest, planned: BuildPlan, style: LayerStyle, tools: Tools) -> EnvironmentLayers:
    base = planned.layout.base

    def missing(blobs: Iterable[Descriptor]) -> set[Digest]:
        wanted = tuple(blobs)
        return tools.shared.lacking(wanted, tools.destination.missing(request.name, wanted))

    wish = EnvironmentWish(
        locked=planned.locked,
        prefix=planned.layout.prefix,
        spec=planned.spec if planned.layout.cluster is None else None,
        platform=request.platform,
        bytecode=request.bytecode if base is None else base.bytecode,
        budget=request.layers,
        style=style,
        base=base,
    )
    return obtain(wish, tools.makers, missing, planned.work, tools.progress)


def _record(
    planned: BuildPlan, environment: EnvironmentLayers, layers: tuple[AddedLayer, ...], style: LayerStyle
) -> ImageRecord:
    locked, spec = planned.locked, planned.spec
    return ImageRecord(
        model_uri=planned.reference.pinned_uri,
        model_name=spec.name,
        model_version=spec.version,
        model_digest=str(spec.digest),
        mlflow_version=spec.mlflow_version,
        runtime=planned.match.runtime.key if planned.match.runtime else None,
        base_reference=planned.base.reference,
        base_digest=str(planned.base.image.digest),
        base_layers=len(planned.base.image.layers),
        parents=model_layers.stated_parents(style.parents, planned.layout.prefix),
        platform=str(locked.platform),
        glibc=planned.base.glibc,
        python=locked.python,
        lock_digest=str(locked.digest),
        packages=len(locked.conda) + len(locked.wheels),
        env_layout=planned.layout.kind,
        environment_prefix=planned.layout.prefix,
        bytecode=environment.bytecode,
        bytecode_modules=environment.bytecode_modules,
        compressor=style.compression.identity,
        layers=model_image.layer_records(layers),
        environment_budget=model_layers.environment_budget(layers),
    )
