"""The record inside a golden base: it survives labels, and strangers' labels do not pass for one."""

from __future__ import annotations

import json

import pytest

from mlflow_dbimage.base_record import BASE_LABEL, BaseRecord
from mlflow_dbimage.build_receipt import LayerRecord

RECORD = BaseRecord(
    title="15.4-lts-ml",
    runtime="15.4-lts-ml",
    system_reference="apt:bookworm",
    system_digest="sha256:" + "1" * 64,
    system_layers=1,
    platform="linux/amd64",
    glibc="2.36",
    python="3.11.11",
    environment_prefix="/opt/dbimage/env",
    lock_digest="sha256:" + "2" * 64,
    packages=354,
    drift=("fasttext 0.9.2: not found",),
    bytecode="all",
    compressor="gzip-isal",
    layers=(LayerRecord(kind="inventory", digest="sha256:3", diff_id="sha256:4", size=5, contents=("lock",)),),
)


ODD: list[dict[str, object]] = [
    {"drift": [7]},
    {"system_layers": -1},
    {"system_layers": "1"},
    {"environment_prefix": "/"},
    {"lock_digest": None},
]


def test_a_record_comes_back_from_its_labels() -> None:
    assert BaseRecord.from_labels(RECORD.to_labels()) == RECORD


@pytest.mark.parametrize("change", [{"format": 99}, {"layers": 1}, {"layers": [{}]}, {"drift": None}, *ODD])
def test_strangers_labels_are_no_record(change: dict[str, object]) -> None:
    data = {**json.loads(RECORD.to_labels()[BASE_LABEL]), **change}
    assert BaseRecord.from_labels({BASE_LABEL: json.dumps(data)}) is None


def test_an_image_without_the_label_has_no_golden_base() -> None:
    assert BaseRecord.from_labels({}) is None
    assert BaseRecord.from_labels({BASE_LABEL: "["}) is None
