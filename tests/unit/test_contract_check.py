"""What clusters need of an image that was made for them, as part of its proof, and what that costs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dcs_roots import Content, Program, Root, satisfying, stacked, tar_layer
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.contract_check import check_contract
from mlflow_dbimage.image_proof import Candidate, prove
from mlflow_dbimage.layer_facts import facts_of
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.runtimes import Catalogue
from oci_samples import without_blobs
from proof_tools import proof_tools
from score_images import record as score_record

CATALOGUE = Catalogue.load()
SITE = "databricks/python3/lib/python3.11/site-packages"
OWN: dict[str, Content] = {
    "opt/dbimage/bin/score": Program(b"#!/bin/bash\n"),
    f"{SITE}/dbimage_launcher-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\n",
}
MODEL: dict[str, Content] = {"opt/dbimage/model/MLmodel": b"flavors: {}\n"}


def candidate(
    root: Root,
    *,
    runtime: str | None = "15.4-lts",
    own: Mapping[str, Content] = OWN,
    model: Mapping[str, Content] = MODEL,
    compression: Compression = Compression.GZIP,
) -> tuple[Image, ImageRecord]:
    record = replace(score_record(base_layers=1), runtime=runtime)
    labelled = replace(root, labels=record.to_labels(), entrypoint=("/opt/dbimage/bin/score",))
    base = labelled.image(compression)
    return stacked(base, tar_layer(own), tar_layer(model)), record


def check(image: Image, record: ImageRecord, cache: BuildCache) -> Check | None:
    facts = facts_of(image.layers[record.base_layers :], cache, threading.Event())
    return check_contract(image, record, facts, CATALOGUE, cache)


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    return BuildCache(tmp_path / "cache")


def test_what_clusters_take_passes(cache: BuildCache) -> None:
    found = check(*candidate(satisfying("15.4-lts")), cache)
    assert found is not None
    assert found.outcome == "passed"
    assert "rules for `15.4.x-scala2.12`" in found.detail
    assert "warnings" not in found.detail


def test_what_is_broken_fails_and_is_named(cache: BuildCache) -> None:
    root = satisfying("15.4-lts").without("usr/bin/sudo", "usr/bin/ip", "var/lib/dpkg")
    found = check(*candidate(root, own={}), cache)
    assert found is not None
    assert found.outcome == "failed"
    assert "clusters of `15.4.x-scala2.12` are not expected to work with the image: scoring: " in found.detail
    assert found.detail.endswith("; and 1 more")


def test_warnings_are_told_and_fail_nothing(cache: BuildCache) -> None:
    found = check(*candidate(satisfying("15.4-lts").without("databricks/python-lsp")), cache)
    assert found is not None
    assert (found.outcome, found.detail.partition("; ")[2]) == ("passed", "warnings: completion")


def test_a_compression_that_was_asked_for_is_a_warning(cache: BuildCache) -> None:
    found = check(*candidate(satisfying("15.4-lts"), compression=Compression.ZSTD), cache)
    assert found is not None
    assert found.outcome == "warned"
    assert "compression: layers: 2 gzip, 1 zstd" in found.detail


def test_what_databricks_own_image_breaks_is_a_warning_and_what_we_break_is_none(cache: BuildCache) -> None:
    root = satisfying("15.4-lts").without("usr/bin/sudo", "var/lib/dpkg").setting(LANG=None)
    image, record = candidate(root)
    own = replace(record, base_reference="index.docker.io/databricksruntime/standard:15.4-LTS")
    warned, failed = check(image, own, cache), check(image, record, cache)
    assert warned is not None
    assert failed is not None
    assert (warned.outcome, failed.outcome) == ("warned", "failed")
    assert "locale: LANG not set; sudo: " in warned.detail
    broken = check(*(candidate(root, own={**OWN, f"{SITE}/pyspark/__init__.py": b""})[0], own), cache)
    assert broken is not None
    assert broken.outcome == "failed"
    assert broken.detail.endswith(f"with the image: no-pyspark: it is in `/{SITE}/pyspark`")


def test_nothing_is_asked_of_an_image_that_was_made_for_no_runtime(cache: BuildCache) -> None:
    image, record = candidate(satisfying("15.4-lts").without("usr/bin"), runtime=None)
    base = without_blobs(image).layers[0]
    assert check(replace(image, layers=(base, *image.layers[1:])), record, cache) is None


@pytest.mark.parametrize("runtime", ["15.4-lts", "7.3-lts"])
def test_a_base_that_is_none_for_clusters_is_passed_over(cache: BuildCache, runtime: str) -> None:
    debian = satisfying(runtime).without("databricks").put(**{"databricks/conda/envs/ml/bin/python": Program(b"")})
    found = check(*candidate(debian, runtime=runtime, own={"opt/dbimage/bin/score": Program(b"")}), cache)
    assert found == Check(name="contract", outcome="skipped", detail="its base is none for clusters")


def test_a_runtime_that_is_not_known_here_is_passed_over(cache: BuildCache) -> None:
    found = check(*candidate(satisfying("15.4-lts"), runtime="15.5-ours"), cache)
    assert found == Check(name="contract", outcome="skipped", detail="the catalogue lacks the runtime `15.5-ours`")


def test_a_new_version_costs_the_reading_of_its_own_layer(cache: BuildCache) -> None:
    first = check(*candidate(satisfying("15.4-lts")), cache)
    image, record = candidate(satisfying("15.4-lts"), model={"opt/dbimage/model/MLmodel": b"another"})
    closed = (*without_blobs(image).layers[:2], image.layers[2])
    kept = len(list((cache.root / "records" / "cluster-roots").iterdir()))
    assert check(replace(image, layers=closed), record, cache) == first
    assert len(list((cache.root / "records" / "cluster-roots").iterdir())) == kept == 1


def test_a_new_environment_does_not_read_the_base_again(cache: BuildCache) -> None:
    check(*candidate(satisfying("15.4-lts")), cache)
    other = {**OWN, f"{SITE}/pyspark/__init__.py": b""}
    image, record = candidate(satisfying("15.4-lts"), own=other)
    closed = (without_blobs(image).layers[0], *image.layers[1:])
    found = check(replace(image, layers=closed), record, cache)
    assert found is not None
    assert "no-pyspark: it is in" in found.detail


@pytest.mark.parametrize(("told_apart", "names"), [(False, ["contract"]), (True, [])])
def test_it_is_part_of_a_proof_unless_it_is_told_apart(
    cache: BuildCache, told_apart: bool, names: list[str]
) -> None:
    image, record = candidate(satisfying("15.4-lts").without("usr/bin/java"))
    layers = tuple(
        LayerRecord(kind=kind, digest="", diff_id=str(layer.diff_id), size=layer.descriptor.size, contents=())
        for kind, layer in zip(("scoring", "model"), image.layers[1:], strict=True)
    )
    proven = Candidate(
        image=image, record=replace(record, layers=layers), expected=lambda: None, contract=not told_apart
    )
    report = prove(proven, "static", proof_tools(cache))
    assert [each.name for each in report.checks if each.outcome == "failed"] == names
