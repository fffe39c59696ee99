"""Where an environment lies, by what is wished and what the base has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from test_base_environment import BASE, LINUX, base_image
from test_lock_changes import lock, wheel

from cluster_roots import SITE, cluster_of, distribution
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.cluster_lock import ClusterLock
from mlflow_dbimage.environment_spec import EnvironmentSpec
from mlflow_dbimage.errors import InputError, MatchError
from mlflow_dbimage.layout_choice import EnvironmentLayout, LayoutWish, choose, launcher_place
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.locked_packages import ClusterPart, Decision
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image, RunConfig, append
from oci_samples import small_image

GOLDEN = lock(*(wheel(name) for name in "abcd"))
ALONE = lock(wheel("x"))
ONE_CHANGED = lock(wheel("a", "2.0"), *(wheel(name) for name in "bcd"))
MOST_CHANGED = lock(*(wheel(name, "2.0") for name in "abc"), wheel("d"))


def golden(folder: Path, **changes: object) -> Image:
    values = {"locked": GOLDEN, **changes}
    return base_image(folder, dataclasses.replace(BASE, **values).to_entry())  # type: ignore[arg-type]


def chosen(
    image: Image,
    wanted: str,
    folder: Path,
    *,
    over: LockedEnv | MatchError = ONE_CHANGED,
    alone: LockedEnv | MatchError = ALONE,
    python: str = "3.11.4",
    platform: Platform = LINUX,
) -> EnvironmentLayout:
    """Choose on a base, where solving over the base gives `over`, and else `alone`."""

    def solve(kept: LockedEnv | None) -> LockedEnv:
        assert kept in (None, GOLDEN)
        found = alone if kept is None else over
        if isinstance(found, MatchError):
            raise found
        return found

    spec = EnvironmentSpec(python=python, channels=(), conda=(), pip=(), directory=folder, logged_at=None)
    base = BaseImage(reference="a/base:1", image=image, glibc="2.36", parents={}, system="Tiny")
    wish = LayoutWish(wanted=wanted, environment=spec, base=base, platform=platform)
    return choose(wish, solve, lambda: pytest.fail("the cluster's Python is nobody's wish"))


@pytest.mark.parametrize("wanted", ["auto", "overlay"])
def test_a_golden_base_that_fits_gets_an_overlay(tmp_path: Path, wanted: str) -> None:
    layout = chosen(golden(tmp_path), wanted, tmp_path)
    assert (layout.kind, layout.prefix, layout.locked) == ("overlay", "/opt/dbimage/env", ONE_CHANGED)
    assert layout.base is not None
    assert layout.base.locked == GOLDEN
    assert (layout.hidden, layout.notes) == ((), ())
    told = layout.to_dict()
    assert [each.name for each in layout.brought.wheels] == ["a"]
    assert (told["kind"], told["kept"], [each["name"] for each in told["changed"]]) == ("overlay", 3, ["a"])


@pytest.mark.parametrize("wanted", ["auto", "isolated"])
def test_a_plain_base_gets_it_isolated(tmp_path: Path, wanted: str) -> None:
    plain = append(golden(tmp_path), [], RunConfig(labels={"dev.dbimage.base": ""}))
    layout = chosen(plain, wanted, tmp_path)
    assert (layout.kind, layout.locked, layout.base, layout.hidden) == ("isolated", ALONE, None, ())
    assert layout.brought == ALONE
    assert layout.to_dict() == {"kind": "isolated", "prefix": "/opt/dbimage/env"}


def test_isolated_on_a_golden_base_hides_what_lies_at_its_place(tmp_path: Path) -> None:
    layout = chosen(golden(tmp_path), "isolated", tmp_path)
    assert (layout.kind, layout.locked, layout.hidden) == ("isolated", ALONE, ("opt/dbimage/env",))


def test_an_overlay_on_a_plain_base_is_refused(tmp_path: Path) -> None:
    plain = append(golden(tmp_path), [], RunConfig(labels={"dev.dbimage.base": ""}))
    with pytest.raises(MatchError, match="`a/base:1`: it is no golden base") as caught:
        chosen(plain, "overlay", tmp_path)
    assert caught.value.code == "layout-impossible"
    assert "build one" in str(caught.value.hint)


def test_another_python_is_refused_and_told(tmp_path: Path) -> None:
    with pytest.raises(MatchError, match=r"it has Python 3\.11, and the model needs 3\.9"):
        chosen(golden(tmp_path), "overlay", tmp_path, python="3.9")
    layout = chosen(golden(tmp_path), "auto", tmp_path, python="3.9")
    assert layout.kind == "isolated"
    assert layout.notes == ("the environment is isolated: it has Python 3.11, and the model needs 3.9",)


def test_another_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MatchError, match="for linux/amd64, and linux/arm64 is wanted"):
        chosen(golden(tmp_path), "overlay", tmp_path, platform=Platform("linux", "arm64"))


def test_an_inventory_that_cannot_be_read_is_told_whatever_else_would_do(tmp_path: Path) -> None:
    image = base_image(tmp_path, BASE.to_entry(), named=False)
    for wanted in ("auto", "overlay"):
        with pytest.raises(InputError, match="lacks the inventory"):
            chosen(image, wanted, tmp_path)
    assert chosen(image, "isolated", tmp_path).kind == "isolated", "what hides the base's needs no inventory"


def test_where_most_would_change_the_environment_is_isolated(tmp_path: Path) -> None:
    layout = chosen(golden(tmp_path), "auto", tmp_path, over=MOST_CHANGED)
    assert (layout.kind, layout.locked) == ("isolated", ALONE)
    assert "the model changes 3 of the 4 packages of the golden base" in layout.notes[0]


def test_an_overlay_that_is_asked_for_is_made_however_much_changes(tmp_path: Path) -> None:
    layout = chosen(golden(tmp_path), "overlay", tmp_path, over=MOST_CHANGED)
    assert (layout.kind, layout.locked) == ("overlay", MOST_CHANGED)
    assert "so that little of it is of use" in layout.notes[0]


def test_half_is_not_most(tmp_path: Path) -> None:
    half = lock(*(wheel(name, "2.0") for name in "ab"), wheel("c"), wheel("d"))
    assert chosen(golden(tmp_path), "auto", tmp_path, over=half).kind == "overlay"


def test_what_cannot_be_solved_over_the_base_is_isolated_with_the_reason(tmp_path: Path) -> None:
    failure = MatchError("ownership-conflict", "packages would write the same files:\n  x")
    layout = chosen(golden(tmp_path), "auto", tmp_path, over=failure)
    assert layout.kind == "isolated"
    assert layout.notes == (
        "the environment is isolated, since an overlay failed: packages would write the same files:",
    )
    with pytest.raises(MatchError, match="same files"):
        chosen(golden(tmp_path), "overlay", tmp_path, over=failure)


def test_a_lock_for_the_clusters_python_says_what_it_replaces(tmp_path: Path) -> None:
    cluster = cluster_of(distribution("alpha") | distribution("beta"))
    locked = dataclasses.replace(lock(wheel("alpha")), cluster=ClusterPart(kept={"beta": "1.0"}))
    spec = EnvironmentSpec(python="3.11", channels=(), conda=(), pip=(), directory=tmp_path, logged_at=None)
    base = BaseImage(reference="a/base:1", image=small_image(tmp_path), glibc="2.36", parents={}, system="Tiny")
    wish = LayoutWish(wanted="cluster", environment=spec, base=base, platform=LINUX)
    layout = choose(wish, lambda kept: pytest.fail("no other"), lambda: ClusterLock(python=cluster, locked=locked))
    assert (layout.kind, layout.prefix, layout.locked) == ("cluster", "/databricks/python3", locked)
    assert layout.hidden == (f"{SITE}/alpha", f"{SITE}/alpha-1.0.dist-info")
    assert layout.in_base == {"alpha": "1.0", "beta": "1.0"}


def test_the_launcher_has_a_place_where_a_cluster_has_its_python(tmp_path: Path) -> None:
    base = BaseImage(reference="b", image=small_image(tmp_path), glibc="2.36", parents={}, system="Tiny")
    assert launcher_place(base) is None
    with_python = dataclasses.replace(base, parents={"databricks/python3/lib/python3.11": (0o755, 0, 0)})
    assert launcher_place(with_python) == "databricks/python3/lib/python3.11/site-packages"


def test_where_nothing_can_be_solved_the_overlays_reason_is_told(tmp_path: Path) -> None:
    over, alone = MatchError("unsolvable", "over the base"), MatchError("unsolvable", "alone")
    with pytest.raises(MatchError, match="over the base"):
        chosen(golden(tmp_path), "auto", tmp_path, over=over, alone=alone)


def test_that_the_bases_own_stays_is_no_decision(tmp_path: Path) -> None:
    decisions = tuple(
        Decision(distribution=name, owner=owner, reason="")
        for name, owner in (("b", "conda"), ("a", "pip"), ("new", "conda"))
    )
    over = dataclasses.replace(ONE_CHANGED, decisions=decisions)
    layout = chosen(golden(tmp_path), "auto", tmp_path, over=over)
    assert [each.distribution for each in layout.decisions] == ["a", "new"]
