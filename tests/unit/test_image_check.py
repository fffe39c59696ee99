"""Which way an image is checked, and what counts as its report."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.image_check import (
    KEPT_LINES,
    CheckLimits,
    CheckRun,
    How,
    choose,
    must_be_checked,
    read_report,
    tail,
)
from mlflow_dbimage.oci.image import Image
from score_images import score_image


class _Way:
    """A checker that only says whether it could."""

    def __init__(self, how: How, obstacle: str | None) -> None:
        self.how: How = how
        self._obstacle = obstacle

    def obstacle(self, image: Image) -> str | None:
        return self._obstacle

    def check(self, image: Image, limits: CheckLimits) -> CheckRun:
        raise AssertionError("choosing runs nothing")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return score_image(tmp_path_factory.mktemp("image"))


def test_the_first_way_without_an_obstacle_is_taken(image: Image):
    choice = choose(image, [_Way("engine", "no engine"), _Way("namespace", None), _Way("packed", None)])
    assert choice.checker is not None
    assert (choice.checker.how, choice.obstacles) == ("namespace", ("no engine",))


def test_without_a_way_all_obstacles_are_told(image: Image):
    choice = choose(image, [_Way("engine", "no engine"), _Way("packed", "another machine")])
    assert choice.checker is None
    with pytest.raises(ServiceError, match="no engine; another machine") as caught:
        must_be_checked(choice)
    assert caught.value.code == "engine-failed"


def test_without_any_checker_the_message_says_what_is_lacking(image: Image):
    with pytest.raises(ServiceError, match="none answers"):
        must_be_checked(choose(image, []))


def test_a_report_is_an_object_of_the_version_that_we_know():
    assert read_report(b'{"version": 1, "python": "3.11.7"}\n') == {"version": 1, "python": "3.11.7"}


@pytest.mark.parametrize(
    "output", [b"", b"nonsense", b"[1]", b'{"version": 2}', b"{}", b'{"version": 1', b"[" * 100_000, b"\xff\xfe{}"]
)
def test_anything_else_is_no_report(output: bytes):
    assert read_report(output) is None


@given(st.binary())
def test_whatever_an_image_writes_is_data(output: bytes):
    assert read_report(output) is None


@given(st.dictionaries(st.text(), st.integers()))
def test_what_a_report_has_besides_is_kept(more: dict[str, int]):
    report = {**more, "version": 1}
    assert read_report(json.dumps(report).encode()) == report


def test_the_last_lines_are_kept():
    kept = tail("\n".join(map(str, range(KEPT_LINES + 5))))
    assert kept.splitlines()[0] == "5"
    assert len(kept.splitlines()) == KEPT_LINES


def test_limits_leave_the_machine_some_memory():
    limits = CheckLimits.of_machine()
    with open("/proc/meminfo") as stream:
        total = int(stream.readline().split()[1]) * 1024
    assert total * 0.8 < limits.memory < total
