"""Golden bases are found where they were put, apart from deployments, whatever else lies there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_base_record import RECORD

from mlflow_dbimage.destinations.archive import ArchiveDestination
from mlflow_dbimage.destinations.base_shelves import ArchiveBases, EngineBases, LayoutBases
from mlflow_dbimage.destinations.deployment import TagScheme
from mlflow_dbimage.destinations.engine import EngineImage
from mlflow_dbimage.destinations.golden_bases import BaseTags
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.image import Image, RunConfig, append
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.progress import SilentProgress
from oci_samples import small_image

QUIET = SilentProgress()
NAMED, BARE = BaseTags(named=True), BaseTags(named=False)


def golden(folder: Path, seed: str = "a", **changes: object) -> Image:
    record = replace(RECORD, **changes)
    return append(small_image(folder, seed=seed), [], RunConfig(labels=record.to_labels()))


def test_a_layout_lists_its_bases_and_no_deployment(tmp_path: Path) -> None:
    shelf = LayoutBases(tmp_path / "images", NAMED)
    assert shelf.bases() == ()
    image = golden(tmp_path / "blobs")
    put = shelf.put("15.4-lts-ml", image, QUIET)
    assert put.reference == f"oci:{tmp_path / 'images'}@{image.digest}"
    other = shelf.put("7.6-ml", golden(tmp_path / "blobs", "b", python="3.7.10"), QUIET)
    plain = small_image(tmp_path / "blobs", seed="c")
    layout = Layout(tmp_path / "images")
    layout.write_image(plain)
    layout.set_tags(
        {"churn": plain.descriptor, "base-plain": plain.descriptor, "base-no-0123456789ab": plain.descriptor}
    )
    assert [(each.name, each.digest, each.record) for each in shelf.bases()] == [
        (each.name, each.digest, each.record) for each in (put, other)
    ]
    assert LayoutDestination(tmp_path / "images", TagScheme(named=True)).deployments() == ()


def test_a_new_build_takes_the_name_and_the_old_one_stays(tmp_path: Path) -> None:
    shelf = LayoutBases(tmp_path / "images", NAMED)
    old = shelf.put("x", golden(tmp_path / "blobs"), QUIET)
    new = shelf.put("x", golden(tmp_path / "blobs", "b"), QUIET)
    (listed,) = shelf.bases()
    assert (listed.digest, set(listed.tags)) == (new.digest, {*old.tags, *new.tags})
    immutable = LayoutBases(tmp_path / "more", BaseTags(named=True, immutable=True))
    puts = {immutable.put("x", golden(tmp_path / "blobs", seed), QUIET).digest for seed in "ab"}
    assert {each.digest for each in immutable.bases()} == puts


def test_an_archive_holds_one_base_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "base.tar"
    shelf = ArchiveBases(path, BARE, tmp_path)
    assert shelf.bases() == ()
    image = golden(tmp_path / "blobs")
    put = shelf.put("x", image, QUIET)
    (listed,) = shelf.bases()
    assert (listed.name, listed.digest, listed.record) == ("x", put.digest, RECORD)
    assert (listed.tags, put.tags) == (
        ("base", f"base-{image.digest.short}"),
        (f"base-{image.digest.short}", "base"),
    )
    deployments = ArchiveDestination(path, TagScheme(named=False), tmp_path)
    assert deployments.deployments() == ()
    with pytest.raises(InputError, match="holds `bases/x`"):
        deployments.write("churn", image, QUIET)
    with pytest.raises(InputError, match="is not the golden base `y`"):
        shelf.put("y", image, QUIET)
    shelf.put("x", golden(tmp_path / "blobs", "b"), QUIET)
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".base")] == []


class Engine:
    """An engine that remembers the images that it was given."""

    def __init__(self) -> None:
        self.named: dict[str, Image] = {}

    def images(self, *, label: str) -> tuple[EngineImage, ...]:
        by_image: dict[str, list[str]] = {}
        for name, image in self.named.items():
            by_image.setdefault(str(image.digest), []).append(name)
        return tuple(
            EngineImage(identifier=digest, names=tuple(names), labels=dict(self.named[names[0]].labels), size=7)
            for digest, names in by_image.items()
            if label in self.named[names[0]].labels
        )

    def load(self, image: Image, names: Sequence[str]) -> int:
        self.named |= dict.fromkeys(names, image)
        return 7

    def tag(self, source: str, target: str) -> None:
        self.named[target] = self.named[source]

    def untag(self, name: str) -> None:
        del self.named[name]

    def save(self, reference: str, target: Path) -> None:
        raise AssertionError("nothing is saved to list or put a base")


@pytest.mark.parametrize(("prefix", "folder"), [("", "bases/"), ("golden", "golden/bases/")])
def test_an_engine_names_them_below_bases(tmp_path: Path, prefix: str, folder: str) -> None:
    engine, image = Engine(), golden(tmp_path)
    shelf = EngineBases(engine, prefix, BARE)
    unique = f"base-{image.digest.short}"
    assert shelf.put("15.4-lts", image, QUIET).reference == f"docker-daemon:{folder}15.4-lts:{unique}"
    engine.load(golden(tmp_path, "b"), ["elsewhere:latest"])
    on_top = append(image, [], RunConfig(labels={"dev.dbimage.record": "{}"}))
    engine.load(on_top, [f"{folder}churn:deployed"])
    (listed,) = shelf.bases()
    assert (listed.name, listed.tags, listed.size) == ("15.4-lts", (unique, "base"), 7)
