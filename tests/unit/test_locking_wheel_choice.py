from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.locking.wheel_choice import OfferedWheel, choose, tags
from solving import AMD64, ARM64


def offered(*names: str) -> list[OfferedWheel]:
    return [OfferedWheel(file_name=name, sha256=None) for name in names]


def chosen(names: tuple[str, ...], python: str = "3.11", glibc: str = "2.36", platform=AMD64) -> str | None:
    wheel = choose(offered(*names), tags(python, glibc, platform))
    return wheel and wheel.file_name


def test_the_most_specific_wheel_wins() -> None:
    names = (
        "x-1-py3-none-any.whl",
        "x-1-cp38-abi3-manylinux_2_17_x86_64.whl",
        "x-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "x-1-cp310-cp310-manylinux_2_28_x86_64.whl",
    )
    assert chosen(names) == "x-1-cp311-cp311-manylinux_2_28_x86_64.whl"


def test_the_glibc_of_the_base_is_the_limit() -> None:
    names = ("x-1-cp311-cp311-manylinux_2_28_x86_64.whl", "x-1-cp311-cp311-manylinux2014_x86_64.whl")
    assert chosen(names, glibc="2.27") == "x-1-cp311-cp311-manylinux2014_x86_64.whl"
    assert chosen(names[:1], glibc="2.27") is None


def test_another_processor_has_other_wheels() -> None:
    names = ("x-1-cp311-cp311-manylinux_2_28_x86_64.whl", "x-1-cp311-cp311-manylinux2014_aarch64.whl")
    assert chosen(names, platform=ARM64) == "x-1-cp311-cp311-manylinux2014_aarch64.whl"


def test_python_3_7_has_the_old_abi() -> None:
    assert chosen(("x-1-cp37-cp37m-manylinux1_x86_64.whl",), python="3.7") is not None
    assert chosen(("x-1-cp37-cp37-manylinux1_x86_64.whl",), python="3.7") is None


def test_a_higher_build_number_wins_and_a_broken_name_is_passed_over() -> None:
    names = ("x-1-2-py3-none-any.whl", "x-1-10-py3-none-any.whl", "x-1-py3-none-any.whl", "not a wheel.whl")
    assert chosen(names) == "x-1-10-py3-none-any.whl"


@pytest.mark.parametrize("name", ["x-1-cp311-cp311-musllinux_1_2_x86_64.whl", "x-1-cp311-cp311-win_amd64.whl"])
def test_wheels_of_other_systems_never_fit(name: str) -> None:
    assert chosen((name,)) is None


@given(st.permutations(["x-1-py3-none-any.whl", "x-1-1-py3-none-any.whl", "x-1-cp311-abi3-linux_x86_64.whl"]))
def test_the_order_in_which_an_index_lists_is_nothing(names: list[str]) -> None:
    assert chosen(tuple(names)) == "x-1-cp311-abi3-linux_x86_64.whl"
