"""Requests: what doors hand in, and the names that every destination can hold."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.build_request import BuildRequest, check_name
from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.settings_sources import Surroundings, load

# One path component, and one tag: OCI distribution specification 1.1, "Pulling manifests".
COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@pytest.fixture
def places(tmp_path):
    """Surroundings in which nothing is set."""
    return Surroundings(environment={}, directory=tmp_path, user_file=tmp_path / "user.toml")


def settings_of(tmp_path, target):
    return load(
        target=target,
        surroundings=Surroundings(environment={}, directory=tmp_path, user_file=tmp_path / "none.toml"),
    )


def test_strings_become_typed_values(places, tmp_path):
    given_ = {
        "runtime": "15.4-lts",
        "base_image": "apt:bookworm",
        "platform": "linux/arm64",
        "channels": "conda-forge",
        "exclude_newer": "2024-05-17T00:00:00Z",
        "offline": "yes",
        "layers": "5",
    }
    request = BuildRequest.from_strings(
        "churn", "models:/churn/3", given_, target=f"dbimage:oci:{tmp_path}/images", surroundings=places
    )
    assert (request.name, request.model_uri, request.mode) == ("churn", "models:/churn/3", "create")
    assert request.target.path == tmp_path / "images"
    assert request.base_image is not None
    assert request.base_image.transport == "apt"
    assert request.platform == Platform("linux", "arm64")
    assert (request.runtime, request.layers, request.compression, request.bytecode) == (
        "15.4-lts",
        5,
        "gzip",
        "imported",
    )
    options = request.environment_options("2.36")
    assert (options.glibc, options.channels, options.offline) == ("2.36", ("conda-forge",), True)
    assert options.exclude_newer == datetime(2024, 5, 17, tzinfo=timezone.utc)


def test_without_channels_those_of_the_model_are_used(places):
    request = BuildRequest.from_strings("churn", "models:/churn/3", surroundings=places)
    assert request.environment_options("2.36").channels is None


def test_a_plan_needs_no_name(places):
    assert BuildRequest.from_strings(None, "models:/churn/3", surroundings=places).name == ""


@pytest.mark.parametrize("name", ["churn", "c", "7", "main.ml.churn", "a-b", "a--b", "a_b", "a__b", "churn-2"])
def test_good_names(tmp_path, name):
    for target in (f"oci:{tmp_path}", "//registry.example/models"):
        check_name(name, settings_of(tmp_path, target))


@pytest.mark.parametrize(
    ("name", "why", "instead"),
    [
        ("Churn", "no tag or repository can hold `C`", "churn"),
        ("churn model", "no tag or repository can hold a space", "churn-model"),
        ("Zürich/v2", "no tag or repository can hold `/`, `Z`, `ü`", "z-rich_v2"),
        ("churn:3", "no tag or repository can hold `:`", "churn-3"),
        ("-churn", "must begin and end with a letter or digit", "churn"),
        ("churn.", "must begin and end with a letter or digit", "churn"),
        ("a..b", "must stand alone", "a.b"),
        ("a___b", "must stand alone", "a-b"),
        ("a.-b", "must stand alone", "a.b"),
        ("x" * 81, "it has 81 characters", "x" * 80),
        ("", "it is empty", None),
        ("$(reboot)", "no tag or repository can hold", "reboot"),
        ("dbimage-cache", "it is where records of all deployments are", None),
        ("dbimage-index", "it is where records of all deployments are", None),
    ],
)
def test_bad_names(tmp_path, name, why, instead):
    with pytest.raises(UsageError) as caught:
        check_name(name, settings_of(tmp_path, f"oci:{tmp_path}"))
    assert caught.value.code == "bad-name"
    assert why in caught.value.message
    assert instead is None or f"`{instead}` would do" in caught.value.hint


@pytest.mark.parametrize("name", ["churn-v2", "churn-local", "churn-v2-0123456789ab"])
def test_names_like_version_tags_are_refused_where_names_share_tags(tmp_path, name):
    with pytest.raises(UsageError, match="version of another deployment"):
        check_name(name, settings_of(tmp_path, f"oci:{tmp_path}"))
    check_name(name, settings_of(tmp_path, "//registry.example/models"))


@given(name=st.text(st.sampled_from("abzAZ019._-/: ü"), max_size=12))
def test_what_is_accepted_fits_tags_and_repositories(tmp_path_factory, name):
    settings = settings_of(tmp_path_factory.getbasetemp(), f"oci:{tmp_path_factory.getbasetemp()}")
    try:
        check_name(name, settings)
    except UsageError as error:
        offered = re.search(r"`([^`]+)` would do", error.hint or "")
        if offered:
            check_name(offered.group(1), settings)
    else:
        assert COMPONENT.fullmatch(name)
        assert TAG.fullmatch(f"{name}-v{10**20}-{'0' * 12}")
