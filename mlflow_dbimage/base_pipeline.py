"""The order of the steps that make a golden base, and nothing else: a list of packages in the place of a model."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from mlflow_dbimage import (
    base_accounts,
    base_environment,
    base_form,
    base_image,
    exact_lock,
    locked_env,
    model_image,
    package_list,
)
from mlflow_dbimage.base_environment import BaseEnvironment
from mlflow_dbimage.base_form import BaseForm, System
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.base_receipt import BaseReceipt
from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.base_request import BaseRequest
from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.cluster_python import packages_place
from mlflow_dbimage.destinations.golden_bases import BaseShelf
from mlflow_dbimage.environment_layers import EnvironmentLayers, EnvironmentMakers, EnvironmentWish, obtain
from mlflow_dbimage.errors import InputError, MatchError, disk_errors
from mlflow_dbimage.exact_lock import ExactLock
from mlflow_dbimage.image_location import ImageLocation, parse_base
from mlflow_dbimage.model_layers import AddedLayer, LayerStyle, write_added, write_launcher
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.image_files import read_files
from mlflow_dbimage.package_list import PackageList
from mlflow_dbimage.progress import Progress
from mlflow_dbimage.runtimes import Catalogue, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTools:
    """All effects of building a golden base, joined by `backends`."""

    catalogue: Catalogue
    systems: base_image.BaseSources
    solver: locked_env.Solver
    makers: EnvironmentMakers
    shelf: BaseShelf
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """All that is decided before anything is installed."""

    name: str
    wanted: PackageList
    system: BaseImage
    form: BaseForm
    exact: ExactLock
    style: LayerStyle


def build(request: BaseRequest, tools: BaseTools) -> BaseReceipt:
    """Build the golden base that is asked for, write it to the destination, and name it last.

    Raises:
        MatchError: `base-drift`, packages cannot be had as listed and that was not allowed; as `exact_lock`.
        InputError: `bad-package-list`, `base-invalid`, `base-not-found`, `base-platform`, `already-deployed`.
        UsageError: `bad-name`, `bad-value`.
        ServiceError: A channel, index, registry, engine, disk or program failed.
    """
    started = time.monotonic()
    cache = tools.makers.cache
    with disk_errors(), cache.work_directory() as work:
        planned = _plan(request, tools)
        environment = obtain(_wish(request, planned), tools.makers, _all_of_them, work, tools.progress)
        layers = (
            *environment.layers,
            *_accounts(planned),
            *_launcher(planned),
            _inventory(planned, environment, cache, tools.progress),
        )
        record = _record(planned, environment, layers)
        variables = planned.form.environment
        image = model_image.assemble_base(planned.system, layers, record, variables, cache.open_blob)
        base = tools.shelf.put(planned.name, image, tools.progress)
        return BaseReceipt(
            base=base,
            image_size=sum(layer.descriptor.size for layer in image.layers),
            added_size=sum(layer.descriptor.size for layer in layers),
            environment_reused=environment.reused,
            notes=(
                *planned.form.notes,
                *planned.exact.locked.notes,
                *_decisions(planned.exact),
                *environment.notes,
            ),
            seconds=time.monotonic() - started,
        )


def _plan(request: BaseRequest, tools: BaseTools) -> _Planned:
    wanted, runtime = _wanted(request, tools.catalogue)
    name = request.name_of(wanted.title)
    location = request.system or _databricks_own(wanted, runtime, tools.catalogue)
    cache, progress = tools.makers.cache, tools.progress
    system = base_image.fetch(location, request.platform, tools.systems, cache, progress)
    if BaseRecord.from_labels(system.image.labels) is not None:
        raise InputError(
            "base-invalid",
            f"`{system.reference}` is a golden base already, or stands on one; a base is built on a bare system",
            hint="name the system that it was built on",
        )
    return _Planned(
        name=name,
        wanted=wanted,
        system=system,
        form=base_form.form_of(
            wanted,
            runtime,
            request.prefix,
            System(environment=system.image.environment, directories=system.parents.keys()),
        ),
        exact=exact_lock.lock_once(
            wanted,
            request.environment_options(system.glibc),
            tools.solver,
            cache,
            progress,
            allow_drift=request.allow_drift,
        ),
        style=LayerStyle(
            directory=cache.directory("blobs"),
            compression=Compression.named(request.compression),
            parents=system.parents,
        ),
    )


def _wanted(request: BaseRequest, catalogue: Catalogue) -> tuple[PackageList, Runtime | None]:
    if request.env_file is not None:
        return package_list.of_file(request.env_file), None
    assert request.runtime is not None, "a request names one of the two"
    runtime = catalogue.get(request.runtime)
    return package_list.of_runtime(runtime, catalogue.conda_list(runtime.key)), runtime


def _databricks_own(wanted: PackageList, runtime: Runtime | None, catalogue: Catalogue) -> ImageLocation:
    """Return the container image of the runtime: Databricks', or for machine learning that of its sibling."""
    sibling = None if runtime is None else catalogue.for_images(runtime)
    for each in filter(None, (runtime, sibling)):
        if each.dcs_image is not None:
            return parse_base(each.dcs_image)
    raise MatchError(
        "runtime-mismatch",
        f"no system is known to build the base `{wanted.title}` on",
        hint="name a system: an image, a root file system or an apt suite",
    )


def _wish(request: BaseRequest, planned: _Planned) -> EnvironmentWish:
    return EnvironmentWish(
        locked=planned.exact.locked,
        prefix=planned.form.prefix,
        spec=None,
        platform=request.platform,
        bytecode=request.bytecode,
        budget=request.layers,
        style=planned.style,
    )


def _all_of_them(blobs: Iterable[Descriptor]) -> set[Digest]:
    """Ask for every layer of the environment: its inventory is read from them."""
    return {blob.digest for blob in blobs}


def _accounts(planned: _Planned) -> tuple[AddedLayer, ...]:
    if not planned.form.needs_libraries_user:
        return ()
    entries = base_accounts.with_user(read_files(planned.system.image, base_accounts.FILES))
    if not entries:
        return ()
    title = f"the user {base_accounts.USER}"
    return (write_added("accounts", title, (title,), entries, planned.style),)


def _launcher(planned: _Planned) -> tuple[AddedLayer, ...]:
    """Lay the launcher of jobs into the cluster's own Python, where the system has one."""
    if planned.form.is_conda_root:
        return ()
    return write_launcher(packages_place(planned.system.parents), planned.style)


def _inventory(
    planned: _Planned, environment: EnvironmentLayers, cache: BuildCache, progress: Progress
) -> AddedLayer:
    """Write down every file of the environment, so that images on top know what they need not bring."""
    prefix = planned.form.prefix
    layers = [_readable(each, cache) for each in environment.layers]
    key = cache_key("base-files", prefix, [str(each.diff_id) for each in layers])
    record = cache.record("base-files", key)
    if record is None:
        with progress.step("listing the files of the environment") as step:
            states = base_environment.states_in_layers(layers, prefix)
            step.note(f"{len(states)} files")
        record = {path: list(state) for path, state in states.items()}
        cache.put_record("base-files", key, record)
    held = BaseEnvironment(
        prefix=prefix,
        locked=planned.exact.locked,
        bytecode=environment.bytecode,
        files={path: (kind, mode, value) for path, (kind, mode, value) in record.items()},
    )
    title = "what the environment holds"
    return write_added("inventory", title, (title,), [held.to_entry()], planned.style)


def _readable(added: AddedLayer, cache: BuildCache) -> Layer:
    digest = added.descriptor.digest
    return Layer(descriptor=added.descriptor, diff_id=added.diff_id, open=lambda: cache.open_blob(digest))


def _record(planned: _Planned, environment: EnvironmentLayers, layers: tuple[AddedLayer, ...]) -> BaseRecord:
    locked = planned.exact.locked
    return BaseRecord(
        title=planned.wanted.title,
        runtime=planned.wanted.runtime,
        system_reference=planned.system.reference,
        system_digest=str(planned.system.image.digest),
        system_layers=len(planned.system.image.layers),
        platform=str(locked.platform),
        glibc=planned.system.glibc,
        python=locked.python,
        environment_prefix=planned.form.prefix,
        lock_digest=str(locked.digest),
        packages=len(locked.conda) + len(locked.wheels),
        drift=tuple(map(str, planned.exact.drift)),
        bytecode=environment.bytecode,
        compressor=planned.style.compression.identity,
        layers=model_image.layer_records(layers),
    )


def _decisions(exact: ExactLock) -> tuple[str, ...]:
    return tuple(f"{each.distribution}: from {each.owner}, {each.reason}" for each in exact.locked.decisions)
