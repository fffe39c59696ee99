"""The record inside an image: it survives labels, and strangers' labels do not pass for one."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mlflow_dbimage.build_receipt import RECORD_LABEL, BuildReceipt, ImageRecord, LayerRecord

RECORD = ImageRecord(
    model_uri="models:/churn/3",
    model_name="churn",
    model_version="3",
    model_digest="sha256:" + "1" * 64,
    mlflow_version="3.17.2",
    runtime="15.4-lts",
    base_reference="databricksruntime/standard:15.4-LTS",
    base_digest="sha256:" + "2" * 64,
    base_layers=4,
    parents={"opt": (0o755, 0, 0), "opt/dbimage": (0o755, 0, 0)},
    platform="linux/amd64",
    glibc="2.35",
    python="3.11.7",
    lock_digest="sha256:" + "3" * 64,
    packages=90,
    env_layout="isolated",
    environment_prefix="/opt/dbimage/env",
    bytecode="imported",
    bytecode_modules="sha256:" + "4" * 64,
    compressor="gzip-isal",
    layers=(LayerRecord(kind="model", digest="sha256:5", diff_id="sha256:6", size=7, contents=("model",)),),
)
RECORD_DATA = dataclasses.asdict(RECORD)


def test_a_record_comes_back_from_its_labels() -> None:
    assert ImageRecord.from_labels(RECORD.to_labels()) == RECORD


def test_a_record_without_the_budget_of_its_layers_is_read_too() -> None:
    data = {key: value for key, value in RECORD_DATA.items() if key != "environment_budget"}
    assert ImageRecord.from_labels({RECORD_LABEL: json.dumps(data)}) == RECORD


def test_labels_say_in_the_fields_terms_what_people_look_for() -> None:
    labels = RECORD.to_labels()
    assert labels["org.opencontainers.image.base.digest"] == RECORD.base_digest
    assert labels["org.opencontainers.image.title"] == "churn"
    assert labels["org.opencontainers.image.version"] == "3"
    assert labels["dev.dbimage.model"] == "models:/churn/3"
    assert labels["dev.dbimage.base.layers"] == "4"


def test_what_is_unknown_gets_no_label() -> None:
    labels = dataclasses.replace(RECORD, model_version=None, runtime=None).to_labels()
    assert "org.opencontainers.image.version" not in labels
    assert "dev.dbimage.runtime" not in labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"format": 99}',
        json.dumps({"format": 2, "layers": [{"kind": "model"}]}),
        json.dumps({**RECORD_DATA, "parents": {"opt": 7}}),
        json.dumps({**RECORD_DATA, "parents": []}),
        json.dumps({**RECORD_DATA, "parents": {"opt": [None, 0, 0]}}),
        *(json.dumps({**RECORD_DATA, key: [7]}) for key in RECORD_DATA),
        *(json.dumps({**RECORD_DATA, "base_layers": value}) for value in ("4", -1, 1.0, True)),
        *(
            json.dumps({**RECORD_DATA, "environment_prefix": at})
            for at in ("", "/", "opt", "/opt/../etc", "//etc")
        ),
        *(
            json.dumps({**RECORD_DATA, "layers": [{**RECORD_DATA["layers"][0], key: value}]})
            for key, value in (("kind", 7), ("size", -1), ("size", "7"), ("digest", None), ("contents", [7]))
        ),
    ],
)
def test_labels_that_are_not_a_record_give_none(text: str) -> None:
    assert ImageRecord.from_labels({RECORD_LABEL: text}) is None
    assert ImageRecord.from_labels({}) is None


def test_a_receipt_is_plain_json() -> None:
    receipt = BuildReceipt(
        name="churn",
        reference="oci:images:churn",
        digest="sha256:" + "7" * 64,
        tags=("churn-v3", "churn"),
        record=RECORD,
        image_size=10,
        added_size=7,
        sent_size=7,
        sent="nothing was there",
        environment_reused=False,
        verification={},
        notes=(),
        seconds=1.23456,
    )
    data = json.loads(json.dumps(receipt.to_dict()))
    assert data["seconds"] == 1.235
    assert data["record"]["layers"][0]["contents"] == ["model"]
