"""The layers that an image gets on top of its base: environment by distribution, lock, scoring code, model.

Least changing first, so that a new version of a model costs its own bytes. Layers are pure additions: what is
below is never needed to understand one, so equal contents are equal layers on any base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow_dbimage.kept_layers import KeptLayer, KeptLayers
from mlflow_dbimage.launcher.distribution import launcher_entries
from mlflow_dbimage.model_spec import ModelSpec
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.layer import write_layer
from mlflow_dbimage.oci.parallel import threads_that_compute
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, file_entry, sorted_with_parents, whiteouts
from mlflow_dbimage.packed_env import IMAGE_PREFIX, PackedDistribution, PackedEnv

MODEL_PATH = "/opt/dbimage/model"
LOCK_PATH = "/opt/dbimage/lock"
LIBRARY_PATH = "/opt/dbimage/lib"
SCORE_PATH = "/opt/dbimage/bin/score"
_ENVIRONMENT_LINK = IMAGE_PREFIX[1:]

#: Below this many bytes, uncompressed, a distribution does not get a layer of its own: about 4 MB compressed.
_LARGE = 12 << 20
#: A model file of at least this many bytes gets a layer of its own, so that small changes beside it cost little.
HEAVY_MODEL_FILE = 200 << 20
# Titles of layers that several distributions share, and of the one that holds none.
_OTHER_CONDA, _OTHER, _LOCK = "other conda packages", "other packages", "lock"

Parents = Mapping[str, tuple[int, int, int]]


_NEW_DIRECTORY = (0o755, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Distributions that share a layer."""

    title: str
    distributions: tuple[PackedDistribution, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedLayer:
    """A layer that was made: its names, and what is in it. Its bytes are a blob of the cache."""

    kind: str
    """`environment`, `whiteouts`, `accounts`, `inventory`, `launcher`, `scoring` or `model`."""
    descriptor: Descriptor
    diff_id: Digest
    title: str
    contents: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "kind": self.kind,
            "descriptor": self.descriptor.to_dict(),
            "diff_id": str(self.diff_id),
            "title": self.title,
            "contents": list(self.contents),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AddedLayer:
        """Read the JSON form."""
        return cls(
            kind=data["kind"],
            descriptor=Descriptor.from_dict(data["descriptor"]),
            diff_id=Digest.parse(data["diff_id"]),
            title=data["title"],
            contents=tuple(data["contents"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStyle:
    """How layers are written."""

    directory: Path
    """Where blobs are kept, by digest."""
    compression: Compression
    parents: Parents
    """Mode, uid and gid of directories that the base has: a layer must not change them (docs/measurements.md)."""
    kept: KeptLayers | None = None
    """Where layers are looked for that need not be compressed again; None where all are to be."""


def stated_parents(parents: Parents, prefix: str) -> Parents:
    """Return what our layers state of the directories that a base may have, too.

    Args:
        parents: As in `LayerStyle`.
        prefix: Where the environment is in the image.
    """
    folders = {str(each)[1:] for place in (MODEL_PATH, prefix) for each in PurePosixPath(place).parents}
    return {path: parents.get(path, _NEW_DIRECTORY) for path in sorted(folders - {""})}


def group(env: PackedEnv, budget: int) -> tuple[LayerGroup, ...]:
    """Share an environment's distributions out to at most `budget` layers.

    The largest get a layer each; the rest share two, one of conda's libraries and one of Python packages, since
    the ten largest hold four fifths of the bytes (docs/measurements.md).
    """
    by_size = sorted(env.distributions, key=lambda each: (-each.size, each.name))
    large = [each for each in by_size if each.size >= _LARGE and each.manager != "none"][: max(budget - 2, 0)]
    taken = {id(each) for each in large}
    rest = [each for each in env.distributions if id(each) not in taken]
    shared = (
        LayerGroup(title=_OTHER_CONDA, distributions=_managed_by(rest, "conda")),
        LayerGroup(title=_OTHER, distributions=_managed_by(rest, "pip", "none")),
    )
    own = tuple(LayerGroup(title=each.title, distributions=(each,)) for each in large)
    return own + tuple(each for each in shared if each.distributions)


def budget_of(titles: Iterable[str]) -> int:
    """Return the smallest budget with which `group` gives the groups of these titles again."""
    return sum(1 for title in titles if title not in (_OTHER_CONDA, _OTHER, _LOCK)) + 2


def environment_budget(layers: Iterable[AddedLayer]) -> int:
    """Return the smallest budget with which an environment gives these layers again."""
    return budget_of(layer.title for layer in layers if layer.kind == "environment")


def write_environment(
    groups: Sequence[LayerGroup],
    lock_files: Mapping[str, bytes],
    style: LayerStyle,
    report: Callable[[int], None] = lambda size: None,
) -> tuple[AddedLayer, ...]:
    """Write an environment's layers, and one more of the lock files: every lock differs, and few packages do.

    Args:
        groups: As `group` gives them.
        lock_files: Contents by file name.
        style: How layers are written.
        report: Called with the bytes of each layer that is done, uncompressed.
    """
    groups = [*groups, LayerGroup(title=_LOCK, distributions=())]
    locks = [file_entry(f"{LOCK_PATH[1:]}/{name}", data, 0o644) for name, data in lock_files.items()]

    def write(position: int) -> AddedLayer:
        entries = [entry for each in groups[position].distributions for entry in each.entries]
        if position == len(groups) - 1:
            entries += locks
        contents = tuple(each.title for each in groups[position].distributions if each.name)
        added = write_added("environment", groups[position].title, contents, entries, style)
        report(sum(each.size for each in groups[position].distributions))
        return added

    with ThreadPoolExecutor(threads_that_compute()) as pool:
        return tuple(pool.map(write, range(len(groups))))


def write_whiteouts(paths: Sequence[str], style: LayerStyle) -> tuple[AddedLayer, ...]:
    """Write the layer that hides paths of the base, to lie beneath all others; none where nothing is hidden.

    It is a layer of its own: beside new content for the same folder, engines leave the old files visible.
    """
    if not paths:
        return ()
    written = write_layer(whiteouts(paths, style.parents), style.directory, style.compression)
    title = f"{len(paths)} paths of the base hidden"
    return (
        AddedLayer(
            kind="whiteouts", descriptor=written.descriptor, diff_id=written.diff_id, title=title, contents=()
        ),
    )


def write_launcher(site_packages: str | None, style: LayerStyle) -> tuple[AddedLayer, ...]:
    """Write the layer of the launcher, by which jobs of a cluster start the scoring program.

    Args:
        site_packages: Where packages of the cluster's Python lie, as a path in the image; None where no launcher
            is to be laid.
        style: How layers are written.
    """
    if site_packages is None:
        return ()
    title = f"the launcher in /{site_packages}"
    return (write_added("launcher", title, (title,), launcher_entries(site_packages), style),)


def write_scoring(style: LayerStyle, prefix: str) -> AddedLayer:
    """Write the layer of our own code that runs in the image, and a link to an environment that lies elsewhere.

    Args:
        style: How layers are written.
        prefix: Where the environment is in the image.
    """
    entries = scoring_entries()
    if prefix != IMAGE_PREFIX:
        entries.append(_link_to(prefix))
    return write_added("scoring", "scoring code", ("dbimage scoring",), entries, style)


def _link_to(prefix: str) -> TarEntry:
    """Return the link by which scoring finds the environment; relative, so that it holds in unpacked images."""
    up = "../" * _ENVIRONMENT_LINK.count("/")
    return TarEntry(path=_ENVIRONMENT_LINK, kind=EntryKind.SYMLINK, mode=0o777, link=f"{up}{prefix[1:]}")


def scoring_entries() -> list[TarEntry]:
    """Return the files of our own code that run in the image."""
    core, doors = files("mlflow_dbimage"), files("plugin_entrypoints")
    library = LIBRARY_PATH[1:]
    sources = {
        f"{library}/plugin_entrypoints/batch.py": (doors / "batch.py").read_bytes(),
        f"{library}/plugin_entrypoints/__init__.py": b"",
        f"{library}/mlflow_dbimage/__init__.py": b"",
    }
    for resource in (core / "scoring").iterdir():
        if resource.name.endswith(".py"):
            sources[f"{library}/mlflow_dbimage/scoring/{resource.name}"] = resource.read_bytes()
    entries = [file_entry(path, data, 0o644) for path, data in sources.items()]
    return [*entries, file_entry(SCORE_PATH[1:], (core / "scoring" / "score.sh").read_bytes(), 0o755)]


def write_model(spec: ModelSpec, style: LayerStyle) -> tuple[AddedLayer, ...]:
    """Write the model's layers: one for each heavy file, then one for the rest."""
    heavy = [file for file in spec.files if file.size >= HEAVY_MODEL_FILE]
    rest = [file for file in spec.files if file.size < HEAVY_MODEL_FILE]

    def entries(chosen: Iterable[object]) -> list[TarEntry]:
        return [
            file_entry(f"{MODEL_PATH[1:]}/{file.path}", spec.directory / file.path, file.mode)  # type: ignore[attr-defined]
            for file in chosen
        ]

    layers = [
        write_added("model", f"model file {file.path}", (file.path,), entries([file]), style) for file in heavy
    ]
    title = f"model {spec.name}" + (f" version {spec.version}" if spec.version else "")
    return (*layers, write_added("model", title, ("model",), entries(rest), style))


def write_added(
    kind: str, title: str, contents: tuple[str, ...], entries: Sequence[TarEntry], style: LayerStyle
) -> AddedLayer:
    """Write a layer of ours.

    Args:
        kind: As `AddedLayer.kind`.
        title: For the history.
        contents: What is in it.
        entries: In any order, without the directories above them.
        style: How layers are written.
    """
    arranged = sorted_with_parents(entries, style.parents)
    layer = None if style.kept is None else style.kept.find(arranged)
    if layer is None:
        written = write_layer(arranged, style.directory, style.compression)
        layer = KeptLayer(descriptor=written.descriptor, diff_id=written.diff_id)
        if style.kept is not None:
            style.kept.keep(arranged, layer)
    return AddedLayer(
        kind=kind, descriptor=layer.descriptor, diff_id=layer.diff_id, title=title, contents=contents
    )


def _managed_by(distributions: Iterable[PackedDistribution], *managers: str) -> tuple[PackedDistribution, ...]:
    return tuple(each for each in distributions if each.manager in managers)
