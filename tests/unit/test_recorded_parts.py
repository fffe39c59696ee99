"""What an image was made from, where the image says nonsense of itself or leads elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.backends.mlflow_store import MlflowStore
from mlflow_dbimage.build_receipt import ImageRecord, LayerRecord
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.image import Image, RunConfig, append
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.recorded_parts import read_subject, take_model
from oci_samples import foreign_tar, image_of, plain_layer
from score_images import record


def image(members: list[tuple[str, str | bytes | None]], **changes: object) -> Image:
    layer = LayerRecord(kind="model", digest="", diff_id="", size=0, contents=())
    said: ImageRecord = replace(record(base_layers=1), **{"layers": (layer,), "environment_budget": 2, **changes})
    made = image_of(plain_layer(foreign_tar([("etc", None)])), plain_layer(foreign_tar(members)))
    return append(made, [], RunConfig(labels=said.to_labels()))


@pytest.mark.parametrize(
    "members", [[("opt", None)], [("opt/dbimage/model", "/etc")], [("opt/dbimage/model", b"")]]
)
def test_a_model_that_is_not_there_is_told(tmp_path: Path, members: list[tuple[str, str | bytes | None]]) -> None:
    subject = read_subject("churn", image(members, model_uri="path"))
    with pytest.raises(InputError) as caught:
        take_model(subject, MlflowStore(), unpack_layer, tmp_path, SilentProgress())
    assert caught.value.code == "cannot-reproduce"
    assert "have no folder `/opt/dbimage/model`" in caught.value.message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"platform": "plan9/mips"}, "the platform `plan9/mips`"),
        ({"env_layout": "cluster"}, "the cluster's own Python"),
        ({"base_layers": 9}, "its layers are not those of its record"),
        ({"environment_budget": None}, "does not say how its packages were shared out"),
    ],
)
def test_a_record_that_cannot_be_is_told(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_subject("churn", image([("opt", None)], **changes))
    assert caught.value.code == "cannot-reproduce"
    assert says in caught.value.message
