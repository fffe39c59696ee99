"""Whether clusters would take an image, held against the contract of its runtime as its layers alone tell it.

What the contract looks at in a layer is kept with the layer's facts, and the root that the parts of all layers
make under those layers: a new version of a model in a known environment costs one record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace

from mlflow_dbimage.build_cache import BuildCache, cache_key
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.cluster_roots import ClusterRoot, read_cluster_root
from mlflow_dbimage.dcs_contract import Finding, Subject, check
from mlflow_dbimage.image_location import parse_base
from mlflow_dbimage.layer_facts import LayerFacts
from mlflow_dbimage.layer_parts import part_of, parts_of_base
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.model_layers import SCORE_PATH
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layer_part import LayerPart
from mlflow_dbimage.oci.root_listing import stacked
from mlflow_dbimage.runtimes import Catalogue, Runtime

#: Raised when what is read of a root changes.
_FORMAT = 2
_NAME = "contract"
_NAMED = 3
# What no base has. Whatever else Databricks' own image for a runtime breaks, its clusters are known to take it.
_OURS = frozenset({"scoring", "launcher"})
# What whoever builds has asked for by a setting, and which nobody has confirmed to fail.
_ASKED_FOR = frozenset({"compression"})


def check_contract(
    image: Image,
    record: ImageRecord,
    ours: Sequence[LayerFacts],
    catalogue: Catalogue,
    cache: BuildCache,
) -> Check | None:
    """Hold an image against the contract of the runtime that it was made for; None where it was made for none.

    A base without a Python of clusters is none for them: then jobs run elsewhere, and nothing is asked.

    Args:
        image: One of ours.
        record: Its record.
        ours: The facts of our layers, in their order.
        catalogue: The runtimes that are known.
        cache: Where is kept what was read.

    Raises:
        DbimageError: What reading a layer raises.
    """
    if record.runtime is None:
        return None
    runtime = catalogue.find(record.runtime)
    if runtime is None:
        return Check(name=_NAME, outcome="skipped", detail=f"the catalogue lacks the runtime `{record.runtime}`")
    cut = record.base_layers
    base = image.layers[:cut]
    own = tuple(layer for layer, facts in zip(image.layers[cut:], ours, strict=True) if facts.has_part)

    def parts() -> Iterator[LayerPart]:
        yield from parts_of_base(base, cache)
        yield from (part_of(layer, cache) for layer in own)

    root = _kept_root(image, (*base, *own), parts, cache)
    if not root.is_for_clusters:
        return Check(name=_NAME, outcome="skipped", detail="its base is none for clusters")
    subject = subject_of(image, root, runtime, catalogue)
    excused = _ASKED_FOR
    if subject.runtime.dcs_image is not None and _is_at(subject.runtime.dcs_image, record.base_reference):
        below = replace(subject, root=_kept_root(image, base, lambda: parts_of_base(base, cache), cache))
        excused |= {each.rule for each in check(below) if each.is_error} - _OURS
    return _judged(check(subject), subject.runtime.spark_version_string, excused)


def subject_of(image: Image, root: ClusterRoot, asked: Runtime, catalogue: Catalogue) -> Subject:
    """Return what rules look at: the image beside a runtime whose clusters take images."""
    sibling = catalogue.for_images(asked) or asked
    return Subject(
        image=image, root=root, runtime=sibling, asked=asked, reference=catalogue.dcs_image(sibling.key)
    )


def cluster_root(image: Image, cache: BuildCache, report: Callable[[int], None]) -> ClusterRoot:
    """Read what an image's root has, as far as clusters ask for it.

    Args:
        image: The image.
        cache: Where is kept what was read.
        report: Called with the stored bytes of each layer that was looked at.

    Raises:
        InputError: `base-invalid`, a layer cannot be read.
        DbimageError: What opening a layer raises.
    """

    def parts() -> Iterator[LayerPart]:
        for layer in image.layers:
            yield part_of(layer, cache)
            report(layer.descriptor.size)

    return _kept_root(image, image.layers, parts, cache)


def _kept_root(
    image: Image, layers: Sequence[Layer], parts: Callable[[], Iterable[LayerPart]], cache: BuildCache
) -> ClusterRoot:
    """Return the root that some layers of an image make, of their parts if it is not kept."""
    environment = image.environment
    asked = (SCORE_PATH, environment.get("PYSPARK_PYTHON", ""))
    identities = [str(layer.diff_id) for layer in layers]
    key = cache_key("cluster-root", _FORMAT, identities, environment.get("PATH"), asked)
    record = cache.record("cluster-roots", key)
    if record is not None:
        return ClusterRoot.from_dict(record)
    root = read_cluster_root(stacked(parts()), environment, asked)
    cache.put_record("cluster-roots", key, root.to_dict())
    return root


def _is_at(place: str, reference: str) -> bool:
    return parse_base(place).public_name == reference


def _judged(findings: Sequence[Finding], clusters: str, excused: Set[str]) -> Check:
    broken = [each for each in findings if each.is_error]
    errors = [each for each in broken if each.rule not in excused]
    if broken:
        named = "; ".join(f"{each.rule}: {each.detail}" for each in (errors or broken)[:_NAMED])
        more = f"; and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
        return Check(
            name=_NAME,
            outcome="failed" if errors else "warned",
            detail=f"clusters of `{clusters}` are not expected to work with the image: {named}{more}",
        )
    others = ", ".join(each.rule for each in findings if each.state != "found")
    told = f"; warnings: {others}" if others else ""
    return Check(name=_NAME, outcome="passed", detail=f"{len(findings)} rules for `{clusters}`{told}")
