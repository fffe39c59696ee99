"""Which package is taken for an entry of a list, and which comes nearest to one that cannot be had."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_dbimage.locking.exact_packages import CondaOffer, choose, distance, numbers
from mlflow_dbimage.locking.locked_packages import CondaPackage
from mlflow_dbimage.package_list import CondaPin

VERSIONS = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))


def package(title: str, channel: str = "main", suffix: str = "conda") -> CondaPackage:
    name, version, build = title.split("=")
    number = build.rpartition("_")[2]
    file_name = f"{name}-{version}-{build}.{suffix}"
    url = f"https://host/{channel}/linux-64/{file_name}"
    return CondaPackage(
        name=name,
        version=version,
        build=build,
        build_number=int(number) if number.isdigit() else 0,
        subdir="linux-64",
        file_name=file_name,
        sha256="0" * 64,
        size=1,
        channel=channel,
        canonical_url=url,
        url=url,
    )


def pin(title: str) -> CondaPin:
    name, version, *build = title.split("=")
    return CondaPin(name=name, version=version, build=build[0] if build else None)


def taken(wanted: str, *offered: str | CondaOffer) -> tuple[str | None, str | None]:
    offers = [each if isinstance(each, CondaOffer) else CondaOffer(package=package(each)) for each in offered]
    choice = choose([pin(wanted)], offers)
    titles = [f"{each.name}={each.version}={each.build}" for each in choice.packages]
    return (titles[0] if titles else None), (choice.drift[0].reason if choice.drift else None)


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        ("a=1.0=py37_0", ["a=1.0=py37_1", "a=1.0=py37_0"], "a=1.0=py37_0"),
        ("a=1.0", ["a=1.1=h1_0", "a=1.0=h1_0", "a=1.0=h2_3"], "a=1.0=h2_3"),
        ("a=9b", ["a=9b=h024ee3a_2", "a=9c=h0_1"], "a=9b=h024ee3a_2"),
    ],
)
def test_what_is_listed_is_taken_without_drift(wanted: str, offered: list[str], expected: str) -> None:
    assert taken(wanted, *offered) == (expected, None)


@pytest.mark.parametrize(
    ("wanted", "offered", "expected", "reason"),
    [
        ("a=1.0=py37_0", ["a=1.0=py38_5", "a=1.0=py37_3"], "a=1.0=py37_3", "no channel has that build"),
        ("a=1.2.3=h1_0", ["a=1.2.1=h1_0", "a=1.2.4=h1_0", "a=1.3=h1_0"], "a=1.2.4=h1_0", "that version"),
        ("a=1.2.3=h1_0", ["a=1.2.2=h1_0", "a=1.2.6=h1_0"], "a=1.2.2=h1_0", "that version"),
        ("a=2.0=h1_0", ["a=1.9=h1_0", "a=2.9=h1_0"], "a=2.9=h1_0", "that version"),
        ("a=2021.1.19=h1_0", ["a=2020.6=h1_0", "a=2021.5=h1_0"], "a=2021.5=h1_0", "that version"),
        ("a=1=h1_0", [], None, "no channel has a package of that name"),
        ("python=3.7.10=h1_0", ["python=3.8.0=h1_0"], None, "that version"),
        ("python=3.7.10=h1_0", ["python=3.8.0=h1_0", "python=3.7.16=h2_0"], "python=3.7.16=h2_0", "that version"),
    ],
)
def test_what_cannot_be_had_is_the_nearest(
    wanted: str, offered: list[str], expected: str | None, reason: str
) -> None:
    found, why = taken(wanted, *offered)
    assert found == expected
    assert reason in (why or "")


def test_what_does_not_fit_is_not_taken_even_where_it_is_listed() -> None:
    unfit = CondaOffer(package=package("a=1.0=py38_0"), unfit="that build needs Python >=3.8")
    assert taken("a=1.0=py38_0", unfit, "a=0.9=py37_0") == ("a=0.9=py37_0", "that build needs Python >=3.8")
    assert taken("a=1.0=py38_0", unfit) == (None, "that build needs Python >=3.8")


def test_the_first_channel_and_the_newer_format_win() -> None:
    offers = [
        CondaOffer(package=package("a=1.0=h1_0", "one", "tar.bz2")),
        CondaOffer(package=package("a=1.0=h1_0", "one")),
        CondaOffer(package=package("a=1.0=h1_0", "two")),
    ]
    for order in (offers, [offers[1], offers[0], offers[2]]):
        (chosen,) = choose([pin("a=1.0=h1_0")], order).packages
        assert (chosen.channel, chosen.file_name) == ("one", "a-1.0-h1_0.conda")


def test_a_drift_says_what_is_there_instead() -> None:
    choice = choose([pin("a=1.0=h1_0"), pin("b=1=h1_0")], [CondaOffer(package=package("a=1.1=h1_0"))])
    assert [str(each) for each in choice.drift] == [
        "a=1.0=h1_0: no channel has that version; a=1.1=h1_0 is the nearest",
        "b=1=h1_0: no channel has a package of that name; nothing comes near",
    ]


def test_numbers_of_versions() -> None:
    assert numbers("1!2.0.0") == numbers("2.0") == numbers("2+cpu1")
    assert numbers("1.1.1k") == (1, 1, 1)
    assert numbers("2.1.0-db5") == (2, 1, 0, 5)


@given(wanted=VERSIONS, other=VERSIONS)
@example(wanted="1", other="1.0.1")
def test_nothing_is_nearer_than_the_version_itself(wanted: str, other: str) -> None:
    assert distance(wanted, wanted) <= distance(wanted, other)


@given(wanted=VERSIONS, one=VERSIONS, two=VERSIONS)
def test_who_shares_more_leading_numbers_is_nearer(wanted: str, one: str, two: str) -> None:
    def common(other: str) -> int:
        width = max(len(numbers(wanted)), len(numbers(other)))
        padded = [[*numbers(each), *[0] * width][:width] for each in (wanted, other)]
        return next((at for at in range(width) if padded[0][at] != padded[1][at]), 99)

    if common(one) > common(two):
        assert distance(wanted, one) < distance(wanted, two)
