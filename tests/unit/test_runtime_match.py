"""The match: what is wished for, what the model was logged on, what fits; each with its reason."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.image_location import ImageLocation, parse_base
from mlflow_dbimage.model_reference import parse
from mlflow_dbimage.model_spec import ModelSpec, read
from mlflow_dbimage.runtime_fit import Subject
from mlflow_dbimage.runtime_match import RuntimeMatch, choose, match
from mlflow_dbimage.runtimes import Catalogue
from plain_model import CONDA, MODERN, write_model

CATALOGUE = Catalogue.load()
TODAY = date(2026, 11, 24)
OURS = parse_base("//acme.azurecr.io/golden:1")


@pytest.fixture(scope="session")
def make_spec(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that gives the model of a Python and, maybe, a runtime that it was logged on."""

    def make(python: str = "3.11.7", logged_on: str | None = None) -> ModelSpec:
        mlmodel = MODERN + (f"databricks_runtime: '{logged_on}'\n" if logged_on else "")
        directory = tmp_path_factory.mktemp("model") / "m"
        write_model(directory, mlmodel, conda_DOT_yaml=CONDA.replace("3.11.7", python))
        return read(parse("models:/churn/3"), directory)

    return make


def matched(
    spec: ModelSpec,
    wanted: str | None = None,
    base: ImageLocation | None = None,
    sites: dict[str, ImageLocation] | None = None,
) -> RuntimeMatch:
    return match(spec, wanted, base, CATALOGUE, sites or {}, today=TODAY)


def official(key: str) -> ImageLocation:
    return parse_base(f"databricksruntime/standard:{key}")


@pytest.mark.parametrize(
    ("python", "logged_on", "wanted", "runtime", "base"),
    [
        # Wished for.
        ("3.11.7", None, "15.4-lts", "15.4-lts", "15.4-LTS"),
        ("3.11.7", None, "15.4.x-scala2.12", "15.4-lts", "15.4-LTS"),
        ("3.11.7", None, "15.4-lts-ml", "15.4-lts-ml", "15.4-LTS"),
        ("3.11.7", None, "15.4-lts-ml-gpu", "15.4-lts-ml-gpu", "15.4-LTS"),
        ("3.10.1", "14.3", "13.3-lts", "13.3-lts", "13.3-LTS"),
        ("3.8.18", None, "9.1-lts", "9.1-lts", "9.1-LTS"),
        # Logged on.
        ("3.11.7", "15.4", None, "15.4-lts", "15.4-LTS"),
        ("3.11.7", "15.4.x-cpu-ml-scala2.12", None, "15.4-lts-ml", "15.4-LTS"),
        ("3.10.1", "13.3", None, "13.3-lts", "13.3-LTS"),
        # What fits: the longest support, and what was logged on counts only if it can be had.
        ("3.10.1", None, None, "14.3-lts", "14.3-LTS"),
        ("3.11.7", None, None, "15.4-lts", "15.4-LTS"),
        ("3.12.1", None, None, "17.3-lts", "17.3-LTS"),
        ("3.12", None, None, "17.3-lts", "17.3-LTS"),
        ("3.12.1", "17.1", None, "17.3-lts", "17.3-LTS"),
        ("3.11.7", "client.4", None, "15.4-lts", "15.4-LTS"),
        ("3.11.7", "16.4", None, "15.4-lts", "15.4-LTS"),
    ],
)
def test_a_runtime_and_its_base_are_found(
    make_spec, python: str, logged_on: str | None, wanted: str | None, runtime: str, base: str
) -> None:
    found = matched(make_spec(python, logged_on), wanted)
    assert found.runtime is not None
    assert found.runtime.key == runtime
    assert found.base == official(base)
    assert found.reasons


def test_the_reasons_tell_why(make_spec) -> None:
    assert matched(make_spec(), "15.4-lts-ml").reasons == (
        "the runtime `15.4-lts-ml` was asked for",
        "clusters of `15.4-lts-ml` take no container images: the base is that of `15.4-lts`,"
        " `//index.docker.io/databricksruntime/standard:15.4-LTS`",
    )
    assert matched(make_spec("3.12.1")).reasons == (
        "`17.3-lts` has the model's Python 3.12 and is supported longest, until 2028-10-22;"
        " `16.4-lts` would do too",
        "the base image `//index.docker.io/databricksruntime/standard:17.3-LTS` is Databricks' own for `17.3-lts`",
    )
    assert matched(make_spec(logged_on="15.4")).reasons[0] == "the model was logged on `15.4-lts`"


@pytest.mark.parametrize(
    ("python", "logged_on", "wanted", "warning"),
    [
        ("3.10.1", None, "13.3-lts", "the runtime `13.3-lts` is not supported since 2026-08-22"),
        ("3.11.7", "client.4", None, "the model was logged on `client.4`, which the catalogue lacks"),
        ("3.12.1", "17.1", None, "the model was logged on `17.1`, for which no base image is known"),
        (
            "3.11.7",
            "16.4",
            None,
            "the model was logged on `16.4-lts`, but asks for Python 3.11, and that runtime has 3.12",
        ),
    ],
)
def test_what_is_odd_is_warned_of(
    make_spec, python: str, logged_on: str | None, wanted: str | None, warning: str
) -> None:
    assert matched(make_spec(python, logged_on), wanted).notes[0] == warning


@pytest.mark.parametrize(
    ("python", "wanted", "message", "hint"),
    [
        (
            "3.10.1",
            "15.4-lts",
            "the runtime `15.4-lts` has Python 3.11, and the model needs 3.10",
            "runtimes with Python 3.10 are `14.3-lts`, `14.3-lts-ml`, `14.3-lts-ml-gpu`",
        ),
        (
            "3.7.10",
            None,
            "no supported runtime with a known base image has Python 3.7",
            "runtimes with Python 3.7 are no longer supported, but can be asked for: `7.3-lts`",
        ),
        (
            "3.13.1",
            None,
            "no supported runtime with a known base image has Python 3.13",
            "no runtime has Python 3.13: name a base image",
        ),
        ("3.7.10", "7.6", "no base image is known for the runtime `7.6`", "name a base image"),
        ("3.12.1", "17.1", "no base image is known for the runtime `17.1`", "name a base image"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    make_spec, python: str, wanted: str | None, message: str, hint: str
) -> None:
    with pytest.raises(MatchError) as caught:
        matched(make_spec(python), wanted)
    assert caught.value.code == "runtime-mismatch"
    assert caught.value.message == message
    assert hint in str(caught.value.hint)


def test_an_unknown_runtime_is_refused(make_spec) -> None:
    with pytest.raises(MatchError) as caught:
        matched(make_spec(), "15.5-lts")
    assert caught.value.code == "unknown-runtime"


def test_a_named_base_needs_no_runtime(make_spec) -> None:
    found = matched(make_spec("3.7.10"), None, OURS)
    assert (found.runtime, found.base, found.notes) == (None, OURS, ())
    assert found.reasons == ("the base image `//acme.azurecr.io/golden:1` was asked for",)


def test_a_named_base_goes_with_the_runtime_that_is_known(make_spec) -> None:
    logged = matched(make_spec("3.12.1", "17.1"), None, OURS)
    assert logged.runtime is not None
    assert (logged.runtime.key, logged.base) == ("17.1", OURS)
    wanted = matched(make_spec("3.7.10"), "7.6-ml", OURS)
    assert wanted.runtime is not None
    assert (wanted.runtime.key, wanted.base) == ("7.6-ml", OURS)
    with pytest.raises(MatchError):
        matched(make_spec("3.10.1"), "15.4-lts", OURS)


@pytest.mark.parametrize(
    ("site", "wanted", "base"),
    [
        ("15.4-lts", "15.4-lts", OURS),
        ("15.4.x-scala2.12", "15.4-lts", OURS),
        ("15.4-lts", "15.4-lts-ml", OURS),
        ("15.4-lts-ml", "15.4-lts-ml", OURS),
        ("15.4-lts-ml", "15.4-lts", official("15.4-LTS")),
        ("15.4-lts", None, OURS),
        ("17.1", "17.1", OURS),
        ("7.6", "7.6-ml", OURS),
        ("no runtime of ours", "15.4-lts", official("15.4-LTS")),
    ],
)
def test_a_site_has_bases_of_its_own(make_spec, site: str, wanted: str | None, base: ImageLocation) -> None:
    python = CATALOGUE.get(wanted or "15.4").python
    assert matched(make_spec(python), wanted, None, {site: OURS}).base == base


def test_a_runtime_for_machine_learning_is_chosen_only_for_a_base_of_its_own(make_spec) -> None:
    stock = matched(make_spec("3.12.1"), None, None, {"17.3-lts-ml": OURS})
    assert stock.runtime is not None
    assert stock.runtime.key == "17.3-lts"
    assert stock.reasons[0].endswith("; `16.4-lts`, `17.3-lts-ml` would do too")


def asked(*pip: str, python: str | None = None, python_range: str = "") -> Subject:
    lines = tuple(Requirement(text=text, origin="requirements.txt: line 1") for text in pip)
    return Subject(noun="environment", python=python, python_range=python_range, pip=lines)


@pytest.mark.parametrize(
    ("subject", "wanted", "key", "reason"),
    [
        # Machine learning, GPUs and any Python count where no image is made; the plain one is first among equals.
        (asked("torch==2.3.1"), None, "15.4-lts-ml", "agrees with 1 of 1 pins and is supported longest"),
        (asked("torch==2.3.1+cu121"), None, "15.4-lts-ml-gpu", "has Python 3.11, agrees with 1 of 1 pins; "),
        (asked("numpy==1.26.4"), None, "16.4-lts", "`16.4-lts-ml`, `16.4-lts-ml-gpu` would do too"),
        (
            asked("six", python="3.10"),
            None,
            "14.3-lts",
            "has the environment's Python 3.10 and is supported longest",
        ),
        (asked(python_range=">=3.11"), None, "17.3-lts", "has Python 3.12 and is supported longest"),
        (asked(python_range="<3.12"), None, "15.4-lts", "has Python 3.11 and is supported longest"),
        (asked(), "17.1-ml", "17.1-ml", "the runtime `17.1-ml` was asked for"),
    ],
)
def test_a_cluster_without_an_image_has_a_wider_choice(
    subject: Subject, wanted: str | None, key: str, reason: str
) -> None:
    fit = choose(subject, wanted, CATALOGUE, today=TODAY)
    assert fit.runtime.key == key
    assert reason in fit.reasons[0]


@pytest.mark.parametrize(
    ("subject", "wanted", "message"),
    [
        (asked(python="3.10"), "15.4", "the runtime `15.4-lts` has Python 3.11, and the environment needs 3.10"),
        (asked(python="3.7"), None, "no supported runtime has Python 3.7"),
        (asked(python_range=">=3.13"), None, "no supported runtime has Python >=3.13"),
    ],
)
def test_a_python_that_differs_is_refused_for_a_cluster_too(
    subject: Subject, wanted: str | None, message: str
) -> None:
    with pytest.raises(MatchError) as caught:
        choose(subject, wanted, CATALOGUE, today=TODAY)
    assert (caught.value.code, caught.value.message) == ("runtime-mismatch", message)
    assert caught.value.hint


MINORS = ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


@given(
    python=st.sampled_from(MINORS),
    wanted=st.none() | st.sampled_from(CATALOGUE.keys()),
    logged_on=st.none() | st.sampled_from((*CATALOGUE.keys(), "client.4")),
    base=st.sampled_from([None, OURS]),
    sites=st.dictionaries(st.sampled_from(CATALOGUE.keys()), st.just(parse_base("oci:golden")), max_size=4),
    today=st.dates(date(2021, 1, 1), date(2030, 1, 1)),
)
def test_every_match_has_the_model_s_python_a_base_and_a_reason(
    specs, python: str, wanted: str | None, logged_on: str | None, base, sites, today: date
) -> None:
    spec = specs(python, logged_on)
    try:
        found = match(spec, wanted, base, CATALOGUE, sites, today=today)
    except MatchError as error:
        assert error.hint
        assert base is None or wanted is not None
        return
    assert found.runtime is None or found.runtime.python_minor == python
    assert found.runtime is not None or base is not None
    assert found.base == base or base is None
    assert found.reasons
    if wanted is not None:
        assert found.runtime is not None
        assert found.runtime.key == wanted
    if wanted is None and base is None and found.runtime is not None and logged_on is None:
        assert found.runtime.supported_on(today)
    assert match(spec, wanted, base, CATALOGUE, sites, today=today) == found


@pytest.fixture(scope="session")
def specs(make_spec):
    """Return a function that makes each model once."""
    made: dict[tuple[str, str | None], ModelSpec] = {}

    def spec(python: str, logged_on: str | None) -> ModelSpec:
        key = (python, logged_on)
        if key not in made:
            made[key] = make_spec(python, logged_on)
        return made[key]

    return spec


def test_without_a_day_the_current_one_counts(make_spec) -> None:
    found = match(make_spec("3.8.1"), "10.4-lts", None, CATALOGUE, {})
    assert found.notes[0] == "the runtime `10.4-lts` is not supported since 2025-03-18"
