"""The list of golden bases: which runtimes the configuration maps to each, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

from test_base_record import RECORD

from mlflow_dbimage.base_listing import listed
from mlflow_dbimage.destinations.base_shelves import LayoutBases
from mlflow_dbimage.destinations.golden_bases import BaseTags
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.image_location import parse_base
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image, RunConfig, append
from mlflow_dbimage.progress import SilentProgress
from oci_samples import LINUX, small_image

QUIET = SilentProgress()


class Sources:
    """Opens what it was given, by location."""

    def __init__(self, images: dict[str, Image]) -> None:
        self._images = images

    def open(self, location: object, platform: Platform, progress: object) -> Image:
        image = self._images.get(str(location))
        if image is None:
            raise ServiceError("registry-unreachable", f"`{location}` cannot be reached")
        return image


def test_runtimes_are_put_to_the_bases_that_they_are_mapped_to(tmp_path: Path) -> None:
    shelf = LayoutBases(tmp_path / "images", BaseTags(named=True))
    here = append(small_image(tmp_path / "blobs"), [], RunConfig(labels=RECORD.to_labels()))
    there = append(small_image(tmp_path / "blobs", seed="b"), [], RunConfig(labels=RECORD.to_labels()))
    shelf.put("ours", here, QUIET)
    locations = {
        "15.4-lts": "//r.example/golden:15.4",
        "15.4-lts-ml": "//r.example/golden:15.4-ml",
        "16.4-lts": "//r.example/elsewhere:16.4",
        "17.3-lts": "//r.example/plain:17.3",
        "7.6-ml": "//r.example/gone:7.6",
        "7.3-lts": "apt:bookworm",
    }
    plain = small_image(tmp_path / "blobs", seed="c")
    images = dict(zip(list(locations.values())[:4], (here, here, there, plain), strict=True))
    mapped = {runtime: parse_base(text) for runtime, text in locations.items()}
    rows = listed(shelf, mapped, Sources(images), LINUX, QUIET)
    assert [(row["name"], row["for"], row["problem"]) for row in rows] == [
        ("ours", ["15.4-lts", "15.4-lts-ml"], None),
        ("//r.example/elsewhere:16.4", ["16.4-lts"], None),
        ("//r.example/plain:17.3", ["17.3-lts"], "it is no golden base"),
        ("apt:bookworm", ["7.3-lts"], "it is not looked into"),
        ("//r.example/gone:7.6", ["7.6-ml"], "`//r.example/gone:7.6` cannot be reached"),
    ]
    assert [row["drift"] for row in rows] == [1, 1, None, None, None]
    assert len({tuple(row) for row in map(sorted, rows)}) == 1
