"""An environment's layers: found in the cache by the lock they were made from, or made.

This is what makes a new version of a model cheap: the key is known before anything is installed, and models
that share a lock share their layers. Two builds that need the same environment at once do not both make it: one
makes it, the other waits and finds it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mlflow_dbimage import reference_check
from mlflow_dbimage.base_environment import BaseEnvironment, file_states, states_of
from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.build_receipt import FORMAT
from mlflow_dbimage.kept_layers import KeptLayers
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.model_layers import (
    AddedLayer,
    LayerStyle,
    group,
    scoring_entries,
    stated_parents,
    write_environment,
    write_whiteouts,
)
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.oci.descriptor import Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import canonical_json
from mlflow_dbimage.overlay import difference
from mlflow_dbimage.package_licences import Licences, read_licences
from mlflow_dbimage.packed_env import (
    BytecodeCompiler,
    PackedEnv,
    Packer,
    RecordedFiles,
    all_modules,
    pack,
    with_bytecode,
)
from mlflow_dbimage.progress import Progress

#: Of the form of what is remembered of an environment.
_RECORD = 2
#: How notes begin that are of the machine on which layers are made: it runs no such programs, nor this model.
NOT_LOADED = "the model did not load or predict on this machine"
NOT_RUN = "no byte code: this machine does not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentLayers:
    """The layers of an environment, and what they hold."""

    layers: tuple[AddedLayer, ...]
    bytecode: str
    """`imported`, `all` or `none`: what really has byte code."""
    bytecode_modules: str
    """Digest of the list of modules with byte code."""
    notes: tuple[str, ...]
    licences: Licences
    """Of its packages, as they say them."""
    reused: bool = False
    """Whether they came from the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentWish:
    """An environment that is wanted as layers."""

    locked: LockedEnv
    prefix: str
    """Where it is in the image."""
    spec: ModelSpec | None
    """The model that is loaded once, to see which modules need byte code; None where there is none."""
    platform: Platform
    bytecode: str
    """`imported`, `all` or `none`."""
    budget: int
    """Most layers that its packages may take."""
    style: LayerStyle
    base: BaseEnvironment | None = None
    """What the base has at the prefix: then only what differs is laid over it. None where it has nothing."""


class Rehearsed(Protocol):
    """What a rehearsal found."""

    @property
    def modules(self) -> frozenset[str]:
        """Sources of the modules that were imported, relative to the prefix."""

    @property
    def error(self) -> str | None:
        """What stopped it, or None."""

    @property
    def check(self) -> Mapping[str, Any] | None:
        """The report of the model's self-check, or None."""


class EnvironmentPrograms(BytecodeCompiler, Protocol):
    """Runs the environment's own Python."""

    @property
    def confinement(self) -> str:
        """How it is kept apart from this machine: `bubblewrap`, `namespaces`, or `limits` alone."""

    def can_run(self, target: Platform) -> bool:
        """Whether this machine runs programs for `target`."""

    def rehearse(
        self, prefix: Path, image_prefix: str, library: Path, model: Path, *, example: str | None, scratch: Path
    ) -> Rehearsed:
        """Load the model and predict on its example."""


class Installer(Protocol):
    """Installs what a lock names."""

    def install(self, locked: LockedEnv, prefix: Path, image_prefix: str, progress: Progress) -> None:
        """Install every package of the lock into a new prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentMakers:
    """What makes an environment."""

    installer: Installer
    packer: Packer
    python: EnvironmentPrograms
    cache: BuildCache


class LayersWanted(Protocol):
    """A destination's word on which layers it lacks."""

    def __call__(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Return the digests of those that it lacks."""


def obtain(
    wish: EnvironmentWish,
    makers: EnvironmentMakers,
    missing: LayersWanted,
    work: Path,
    progress: Progress,
) -> EnvironmentLayers:
    """Return the environment's layers, from the cache where it has all that the destination lacks.

    Args:
        wish: What is wanted.
        makers: What makes it if need be.
        missing: Says which layers the destination lacks.
        work: An empty folder for the build.
        progress: Where steps are reported.
    """
    key = _key(wish)
    with makers.cache.lock(f"environment-{key[:32]}"):
        found = _cached(key, makers.cache, missing)
        if found is not None:
            return found
        kept = KeptLayers(cache=makers.cache, compressor=wish.style.compression.identity)
        made = make(replace(wish, style=replace(wish.style, kept=kept)), makers, work, progress)
        makers.cache.put_record("environments", key, _to_record(made))
        makers.cache.trim()
        return made


def _key(wish: EnvironmentWish) -> str:
    inside = f"{wish.prefix[1:]}/"
    parents = {path: owner for path, owner in wish.style.parents.items() if path.startswith(inside)}
    return cache_key(
        FORMAT,
        _RECORD,
        str(wish.locked.digest),
        wish.prefix,
        str(wish.platform),
        wish.bytecode,
        wish.budget,
        wish.style.compression.identity,
        stated_parents(wish.style.parents, wish.prefix),
        sorted(parents.items()),
        None if wish.base is None else str(wish.base.digest),
    )


def _cached(key: str, cache: BuildCache, missing: LayersWanted) -> EnvironmentLayers | None:
    record = cache.record("environments", key)
    if record is None:
        return None
    found = _from_record(record)
    wanted = missing([layer.descriptor for layer in found.layers])
    return found if all(cache.has_intact_blob(digest) for digest in wanted) else None


def make(wish: EnvironmentWish, makers: EnvironmentMakers, work: Path, progress: Progress) -> EnvironmentLayers:
    """Make the environment's layers, whether or not they were made before.

    Args: as `obtain`.
    """
    prefix = work / "env"
    makers.installer.install(wish.locked, prefix, wish.prefix, progress)
    packer = makers.packer if wish.locked.cluster is None else RecordedFiles()
    with progress.step("checking the environment") as step:
        packed = pack(prefix, packer, wish.prefix, channel_urls=wish.locked.channel_urls())
        step.note(f"{len(packed.distributions)} distributions, {packed.size / 1e6:,.0f} MB")
    made = _compiled if wish.base is None else _laid_over
    laid = made(packed, wish, makers, work, progress)
    with progress.step("writing environment layers") as step:
        step.total(laid.env.size)
        groups = group(laid.env, wish.budget)
        layers = (
            *write_whiteouts(laid.whiteouts, wish.style),
            *write_environment(groups, wish.locked.files(), wish.style, step.advance),
        )
        step.note(f"{len(layers)} layers, {sum(layer.descriptor.size for layer in layers) / 1e6:,.0f} MB")
    licences = read_licences(prefix)
    # Some 25,000 files: they go while the layers are sent.
    threading.Thread(target=shutil.rmtree, args=(prefix, True), name="removing an environment").start()
    return EnvironmentLayers(
        layers=layers,
        bytecode=laid.bytecode,
        bytecode_modules=str(Digest.of(canonical_json(sorted(laid.modules)))),
        notes=laid.notes,
        licences=licences,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laid:
    """What is written to layers."""

    env: PackedEnv
    bytecode: str
    modules: frozenset[str]
    """Those that got byte code here."""
    notes: tuple[str, ...]
    whiteouts: tuple[str, ...] = ()


def _compiled(
    packed: PackedEnv, wish: EnvironmentWish, makers: EnvironmentMakers, work: Path, progress: Progress
) -> _Laid:
    """Give the whole environment, with byte code."""
    kind, modules, notes = _modules_to_compile(packed, wish, makers, work, progress)
    env = _with_bytecode(packed, work / "env", modules, makers.python, progress)
    return _Laid(env=env, bytecode=kind, modules=modules, notes=notes)


def _laid_over(
    packed: PackedEnv, wish: EnvironmentWish, makers: EnvironmentMakers, work: Path, progress: Progress
) -> _Laid:
    """Give what the base has not; the byte code of what it has is there, unless another Python makes it anew."""
    assert wish.base is not None
    with progress.step("comparing the environment with the base's") as step:
        states = file_states(packed)
        overlay = difference(packed, states, wish.base, compiled=False)
        step.note(f"{len(overlay.kept)} distributions are there, {len(overlay.added)} are not")
    recompiled = any((each.name, each.manager) == ("python", "conda") for each in overlay.added)
    new = packed if recompiled else replace(packed, distributions=overlay.added)
    kind, modules, notes = _modules_to_compile(new, wish, makers, work, progress)
    if modules:
        new = _with_bytecode(new, work / "env", modules, makers.python, progress)
        whole = new if recompiled else replace(packed, distributions=(*overlay.kept, *new.distributions))
        entries = (entry for distribution in whole.distributions for entry in distribution.entries)
        states |= states_of(entry for entry in entries if entry.path not in states)  # the byte code
        overlay = difference(whole, states, wish.base, compiled=recompiled)
    env = replace(packed, distributions=overlay.added)
    return _Laid(env=env, bytecode=kind, modules=modules, notes=notes, whiteouts=overlay.whiteouts)


def _with_bytecode(
    packed: PackedEnv, prefix: Path, modules: frozenset[str], python: EnvironmentPrograms, progress: Progress
) -> PackedEnv:
    if not modules:
        return packed
    with progress.step(f"compiling {len(modules)} modules"):
        return with_bytecode(packed, prefix, modules, python)


def _modules_to_compile(
    packed: PackedEnv, wish: EnvironmentWish, makers: EnvironmentMakers, work: Path, progress: Progress
) -> tuple[str, frozenset[str], tuple[str, ...]]:
    """Return the kind of byte code that can be had, the modules, and notes."""
    if wish.bytecode == "none" or not wish.locked.brings_python:
        return "none", frozenset(), ()
    if not makers.python.can_run(wish.platform):
        return "none", frozenset(), (f"{NOT_RUN} {wish.platform}",)
    if wish.bytecode == "all" or wish.spec is None:
        return "all", all_modules(packed), ()
    with progress.step("loading the model once, to see what it imports") as step:
        imported, notes = _imported(wish.spec, wish.locked, packed.prefix, makers, work)
        modules = all_modules(packed) & imported
        step.note(f"{len(modules)} modules, confined by {makers.python.confinement}")
    return "imported", modules, (*notes, *_unconfined(makers.python))


def _unconfined(python: EnvironmentPrograms) -> tuple[str, ...]:
    if python.confinement != "limits":
        return ()
    return ("the model's code ran with limits, but without a sandbox: this machine allows none",)


def _imported(
    spec: ModelSpec, locked: LockedEnv, image_prefix: str, makers: EnvironmentMakers, work: Path
) -> tuple[frozenset[str], tuple[str, ...]]:
    scratch, root = work / "rehearsal", work / "scoring"
    scratch.mkdir()
    for entry in scoring_entries():
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        assert entry.content is not None
        with entry.content() as stream:
            path.write_bytes(stream.read())
    library = root / "opt" / "dbimage" / "lib"
    example = spec.serving_example or spec.example
    found = makers.python.rehearse(
        work / "env", image_prefix, library, spec.directory, example=example, scratch=scratch
    )
    if found.check is not None:
        reference_check.keep(makers.cache, locked.digest, spec.digest, found.check)
    if found.error is None:
        return found.modules, ()
    return found.modules, (f"{NOT_LOADED}: {found.error}",)


def _to_record(made: EnvironmentLayers) -> dict[str, Any]:
    return {
        "bytecode": made.bytecode,
        "bytecode_modules": made.bytecode_modules,
        "notes": list(made.notes),
        "licences": [[manager, name, licence] for (manager, name), licence in sorted(made.licences.items())],
        "layers": [layer.to_dict() for layer in made.layers],
    }


def _from_record(record: Mapping[str, Any]) -> EnvironmentLayers:
    return EnvironmentLayers(
        bytecode=record["bytecode"],
        bytecode_modules=record["bytecode_modules"],
        notes=tuple(record["notes"]),
        licences={(manager, name): licence for manager, name, licence in record["licences"]},
        layers=tuple(AddedLayer.from_dict(layer) for layer in record["layers"]),
        reused=True,
    )
