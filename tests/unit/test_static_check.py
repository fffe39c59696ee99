"""What is wrong with an image's files."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.base_image import programs_of
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.layer_facts import facts_of
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append
from mlflow_dbimage.oci.programs import Programs
from mlflow_dbimage.oci.rootfs import image_of_layer
from mlflow_dbimage.oci.tar import EntryKind, TarEntry, file_entry
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.static_check import check_files
from score_images import layer_of
from score_images import record as score_record

LINUX = Platform("linux", "amd64")
SHELL = file_entry("usr/bin/dash", b"\x7fELF", 0o755)
SCORE = file_entry("opt/dbimage/bin/score", b"#!/bin/sh\n", 0o755)


def link(path: str, target: str) -> TarEntry:
    return TarEntry(path=path, kind=EntryKind.SYMLINK, mode=0o777, link=target)


BASE = (SHELL, link("bin", "usr/bin"), link("usr/bin/sh", "dash"))


def image_of(folder: Path, *own: TarEntry, base: tuple[TarEntry, ...] = BASE, **labels: str) -> Image:
    lower = layer_of(folder / "blobs", *base)
    upper = layer_of(folder / "blobs", *own)
    blobs = folder / "blobs"
    image = image_of_layer(lower.descriptor, lower.diff_id, lambda digest: (blobs / digest.hex).open("rb"), LINUX)
    layers = (
        LayerRecord(
            kind="scoring", digest="", diff_id=str(upper.diff_id), size=upper.descriptor.size, contents=()
        ),
    )
    record = replace(score_record(base_layers=1), layers=layers)
    run = RunConfig(labels={**record.to_labels(), **labels})
    return append(image, [Addition(layer=upper, created_by="a test")], run)


def checks_of(image: Image, folder: Path, *remains: str) -> dict[str, Check]:
    record = ImageRecord.from_labels(image.labels)
    assert record is not None
    cache = BuildCache(folder / "cache")
    facts = facts_of(image.layers[1:], cache, threading.Event())

    def base() -> Programs:
        return programs_of(replace(image, layers=image.layers[:1]), cache, SilentProgress())

    return {check.name: check for check in check_files(image, record, facts, base, lambda: remains)}


def test_an_image_that_is_right_passes(tmp_path: Path):
    found = checks_of(image_of(tmp_path, SCORE), tmp_path)
    assert {check.outcome for check in found.values()} == {"passed"}, found
    assert set(found) == {"layers", "permissions", "byte-code", "whiteouts", "scripts", "secrets"}


def test_a_layer_whose_diff_id_lies(tmp_path: Path):
    image = image_of(tmp_path, SCORE)
    other = Digest.of(b"other")
    lying = replace(image.layers[1], diff_id=other)
    config = image.config.replace(str(image.layers[1].diff_id).encode(), str(other).encode())
    manifest = image.manifest.replace(str(Digest.of(image.config)).encode(), str(Digest.of(config)).encode())
    found = checks_of(replace(image, layers=(image.layers[0], lying), config=config, manifest=manifest), tmp_path)
    assert list(found) == ["layers"]
    assert "its tar stream has the diff ID" in found["layers"].detail


def test_a_layer_that_the_record_does_not_name(tmp_path: Path):
    image = image_of(tmp_path, SCORE)
    more = append(
        image,
        [Addition(layer=layer_of(tmp_path / "blobs", file_entry("opt/x", b"", 0o644)), created_by="somebody")],
        RunConfig(),
    )
    assert "not those of the image's record" in checks_of(more, tmp_path)["layers"].detail


def test_a_model_that_the_scoring_user_cannot_read(tmp_path: Path):
    image = image_of(tmp_path, SCORE, file_entry("opt/dbimage/model/MLmodel", b"x", 0o600))
    assert checks_of(image, tmp_path)["permissions"] == Check(
        name="permissions",
        outcome="failed",
        detail="`/opt/dbimage/model/MLmodel` cannot be read by the scoring user",
    )


@pytest.mark.parametrize("base", [(SHELL,), (SHELL, link("bin", "usr/bin"), link("usr/bin/sh", "sh"))])
def test_a_script_that_nothing_runs(tmp_path: Path, base: tuple[TarEntry, ...]):
    found = checks_of(image_of(tmp_path, SCORE, base=base), tmp_path)["scripts"]
    assert found.outcome == "failed"
    assert found.detail == "`/opt/dbimage/bin/score` is run by `/bin/sh`, which the image lacks"


def test_the_base_is_only_read_for_what_our_layers_lack(tmp_path: Path):
    own = (
        file_entry("opt/dbimage/bin/score", b"#!/opt/dbimage/env/bin/python\n", 0o755),
        link("opt/dbimage/env/bin/python", "../lib/../bin/python3.11"),
        file_entry("opt/dbimage/env/bin/python3.11", b"\x7fELF", 0o755),
    )
    image = image_of(tmp_path, *own)
    (tmp_path / "blobs" / image.layers[0].descriptor.digest.hex).unlink()
    assert checks_of(image, tmp_path)["scripts"].outcome == "passed"


def test_a_secret_in_a_label_is_found_and_not_told(tmp_path: Path):
    token = "dapi" + "0123456789abcdef" * 2
    found = checks_of(image_of(tmp_path, SCORE, note=token), tmp_path)["secrets"]
    assert found.outcome == "failed"
    assert found.detail == "a token of Databricks in the image's config"


def test_what_is_left_of_the_base_is_told(tmp_path: Path):
    found = checks_of(image_of(tmp_path, SCORE), tmp_path, "`/opt/x` is left")["whiteouts"]
    assert found == Check(name="whiteouts", outcome="failed", detail="`/opt/x` is left")


def test_many_faults_are_counted(tmp_path: Path):
    closed = [file_entry(f"opt/dbimage/model/{number}", b"x", 0o600) for number in range(7)]
    detail = checks_of(image_of(tmp_path, SCORE, *closed), tmp_path)["permissions"].detail
    assert detail.endswith("; and 4 more")
