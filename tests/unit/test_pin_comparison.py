"""Pins against a runtime's packages: same, compatible, changed or missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.pin_comparison import AGREEMENTS, Comparison, compare
from mlflow_dbimage.runtimes import Catalogue

CATALOGUE = Catalogue.load()


def lines(*texts: str) -> list[Requirement]:
    return [Requirement(text=text, origin=f"line {number}") for number, text in enumerate(texts)]


def one(text: str, found: str | None, *, conda: bool = False) -> tuple[str, bool]:
    """Return how one line agrees with the runtime's version of `thing`, and whether it is satisfied."""
    packages = {} if found is None else {"thing": found}
    given_ = lines(text)
    (pin,) = compare(given_ if conda else (), () if conda else given_, "3.11", packages).pins
    assert pin.found == found
    return pin.agreement, pin.satisfied


@pytest.mark.parametrize(
    ("text", "found", "agreement", "satisfied"),
    [
        ("thing==1.23.5", "1.23.5", "same", True),
        ("thing==1.23", "1.23.0", "same", True),
        ("thing==2.3.1", "2.3.1+cpu", "same", True),
        ("thing==2.3.1+cu121", "2.3.1+cpu", "compatible", False),
        ("thing==1.23.5", "1.23.1", "compatible", False),
        ("thing==1.23.1", "1.23.5", "compatible", False),
        ("thing==1.23.5", "1.24.0", "changed", False),
        ("thing==1.23.5", "2.23.5", "changed", False),
        ("thing==1.23.5rc1", "1.23.5", "changed", False),
        ("thing==1!1.2.3", "1.2.4", "changed", False),
        ("thing", "0.1", "compatible", True),
        ("thing>=1,<2", "1.9", "compatible", True),
        ("thing>=1,<2", "2.0rc1", "changed", False),
        ("thing>=1.23.6", "1.23.5", "changed", False),
        ("thing==1.23.*", "1.23.5", "compatible", True),
        ("thing~=1.4.2", "1.4.9", "compatible", True),
        ("thing==1", None, "missing", False),
        ("thing", None, "missing", False),
        # Not PEP 440.
        ("thing==0.2.5.db1", "0.2.5.db1", "same", True),
        ("thing==0.2.5", "0.2.5.db1", "compatible", True),
        ("thing==0.2.5.db1", "0.2.5.db2", "compatible", False),
        ("thing==0.2.5.db1", "0.3.5.db1", "changed", False),
        ("thing>=0.2,<0.3", "0.2.5.db1", "compatible", True),
        ("thing>=1", "unknown", "changed", False),
        ("thing @ git+https://host/thing.git", "1.0", "changed", False),
    ],
)
def test_pip_pins(text: str, found: str | None, agreement: str, satisfied: bool) -> None:
    assert one(text, found) == (agreement, satisfied)


@pytest.mark.parametrize(
    ("text", "found", "agreement"),
    [
        ("thing=1.23", "1.23", "same"),
        ("thing=1.23", "1.23.5", "compatible"),
        ("thing=1.23.1", "1.23.5", "compatible"),
        ("thing=1.22", "1.23.5", "changed"),
        ("thing=1.23.5=py311_0", "1.23.5", "same"),
        ("thing 1.1.1k", "1.1.1k", "same"),
        ("thing 1.1.1k", "1.1.1l", "compatible"),
        ("thing", None, "missing"),
    ],
)
def test_conda_pins(text: str, found: str | None, agreement: str) -> None:
    assert one(text, found, conda=True)[0] == agreement


def test_a_runtime_made_of_conda_is_held_against_its_conda_packages() -> None:
    found = compare(
        lines("zlib=1.2.11=h7b6447c_3", "pytorch=1.7.1"), (), "3.7", {"torch": "1.7.1"}, {"zlib": "1.2.11"}
    )
    assert [(each.pin.name, each.agreement) for each in found.pins] == [("torch", "same"), ("zlib", "same")]


def test_installers_are_no_pins_and_lines_without_a_name_are_told() -> None:
    found = compare(lines("pip<=26.3"), lines("-r more.txt", "pip==23", "./source"), "3.11", {})
    assert found.pins == ()
    assert [line.text for line in found.unread] == ["./source"]


def test_what_is_beyond_a_requirement() -> None:
    packages = {"a": "1.0.0", "b": "1.0.1", "c": "2"}
    found = compare((), lines("a==1.0.0", "b==1.0.0", "c==1", "d"), "3.11", packages)
    assert found.counts == {"same": 1, "compatible": 1, "changed": 1, "missing": 1}
    assert found.score == (2, 1)
    assert [each.pin.name for each in found.beyond("same")] == ["b", "c", "d"]
    assert [each.pin.name for each in found.beyond("compatible")] == ["c", "d"]


# Properties

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4}){0,2}", fullmatch=True).filter(
    lambda name: name not in ("pip", "python")
)
NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
VERSIONS = NUMBERS | st.builds("{}{}".format, NUMBERS, st.sampled_from(["rc1", "+cpu", ".post2", ".db1", "-db5"]))
OPERATORS = st.sampled_from(["==", ">=", "<", "!=", "~="])
PACKAGES = st.dictionaries(NAMES, VERSIONS, max_size=6)


@given(PACKAGES)
def test_a_runtime_is_the_same_as_its_own_packages(packages: dict[str, str]) -> None:
    found = compare((), lines(*(f"{name}==={version}" for name, version in packages.items())), "3.11", packages)
    assert [(each.pin.name, each.agreement) for each in found.pins] == [
        (name, "same") for name in sorted(packages)
    ]


@given(NAMES, OPERATORS, NUMBERS.filter(lambda text: "." in text), PACKAGES, VERSIONS)
def test_what_the_line_accepts_is_at_least_compatible(
    name: str, operator: str, wanted: str, packages: dict[str, str], version: str
) -> None:
    (pin,) = compare((), lines(f"{name}{operator}{wanted}"), "3.11", {**packages, name: version}).pins
    assert pin.agreement in AGREEMENTS
    assert pin.agreement != "missing"
    if pin.satisfied:
        assert pin.agreement in ("same", "compatible")
    try:
        accepted = SpecifierSet(f"{operator}{wanted}").contains(Version(version), prereleases=True)
    except ValueError:
        return
    assert pin.satisfied == accepted
    if pin.agreement == "compatible" and not accepted:
        one, other = Version(version), Version(wanted)
        assert (operator, one.major, one.minor) == ("==", other.major, other.minor)


@given(st.lists(st.tuples(NAMES, VERSIONS), max_size=6, unique_by=lambda pair: pair[0]), PACKAGES, st.randoms())
def test_neither_order_nor_spelling_of_names_matters(
    pins: list[tuple[str, str]], packages: dict[str, str], random
) -> None:
    def result(texts: list[str]) -> list[tuple[str, str | None, str]]:
        found = compare((), lines(*texts), "3.11", packages)
        return [(each.pin.name, each.found, each.agreement) for each in found.pins]

    plain = [f"{name}=={version}" for name, version in pins]
    spelled = [f"{name.upper().replace('-', '_')} =={version}" for name, version in pins]
    random.shuffle(spelled)
    assert result(plain) == result(spelled)


@given(st.lists(st.text(max_size=30), max_size=5), st.lists(st.text(max_size=30), max_size=5), PACKAGES)
def test_no_text_breaks_it_and_every_pin_has_its_agreement(
    conda: list[str], pip: list[str], packages: dict[str, str]
) -> None:
    found = compare(lines(*conda), lines(*pip), "3.12.3", packages)
    assert isinstance(found, Comparison)
    assert sum(found.counts.values()) == len(found.pins)
    assert all((each.agreement == "missing") == (each.found is None) for each in found.pins)


@pytest.mark.parametrize("key", CATALOGUE.keys())
def test_every_runtime_agrees_with_itself(key: str) -> None:
    packages = CATALOGUE.get(key).packages
    exact = lines(*(f"{name}=={version}" for name, version in packages.items()))
    found = compare((), exact, "3.11", packages)
    assert found.counts["same"] == len(found.pins) == len(packages) - ("pip" in packages)
    assert found.unread == ()
