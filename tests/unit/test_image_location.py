"""Locations: every form is read, said again the same, and nonsense is refused with the forms there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.image_location import DOCKER_HUB, ImageLocation, parse_base, parse_target

DIGEST = "sha256:" + "a" * 64


def registry(host: str, name: str = "", tag: str | None = None, digest: str | None = None) -> ImageLocation:
    return ImageLocation(transport="docker", host=host, name=name, tag=tag, digest=digest)


def layout(path: str, tag: str | None = None, digest: str | None = None) -> ImageLocation:
    return ImageLocation(transport="oci", path=Path(path), tag=tag, digest=digest)


def engine(name: str) -> ImageLocation:
    return ImageLocation(transport="docker-daemon", name=name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("//acme.azurecr.io/models/base:15.4", registry("acme.azurecr.io", "models/base", "15.4")),
        ("docker://acme.azurecr.io/models/base", registry("acme.azurecr.io", "models/base")),
        ("acme.azurecr.io/models/base", registry("acme.azurecr.io", "models/base")),
        ("//plainhost/base", registry("plainhost", "base")),
        ("//localhost:5000/base", registry("localhost:5000", "base")),
        ("localhost/base:1", registry("localhost", "base", "1")),
        ("127.0.0.1:5000/base", registry("127.0.0.1:5000", "base")),
        ("//[::1]:5000/base", registry("[::1]:5000", "base")),
        ("//ACME.azurecr.io/base", registry("acme.azurecr.io", "base")),
        (f"//h.io/a@{DIGEST}", registry("h.io", "a", None, DIGEST)),
        (f"//h.io/a:1@{DIGEST}", registry("h.io", "a", "1", DIGEST)),
        ("debian:12", registry(DOCKER_HUB, "library/debian", "12")),
        ("debian:12.5", registry(DOCKER_HUB, "library/debian", "12.5")),
        ("debian", registry(DOCKER_HUB, "library/debian")),
        ("docker://debian:12", registry(DOCKER_HUB, "library/debian", "12")),
        ("docker.io/debian:12", registry(DOCKER_HUB, "library/debian", "12")),
        (
            "databricksruntime/standard:15.4-LTS",
            registry(DOCKER_HUB, "databricksruntime/standard", "15.4-LTS"),
        ),
        ("docker://databricksruntime/standard", registry(DOCKER_HUB, "databricksruntime/standard")),
        ("oci:/srv/bases", layout("/srv/bases")),
        ("oci:/srv/bases:one", layout("/srv/bases", "one")),
        (f"oci:bases@{DIGEST}", layout("bases", None, DIGEST)),
        ("oci:/a:b/c", layout("/a:b/c")),
        ("oci:/home/ann@work", layout("/home/ann@work")),
        ("/srv/bases", layout("/srv/bases")),
        ("docker-daemon:debian:12", engine("debian:12")),
        ("docker-daemon:h.io:5000/a/b:1", engine("h.io:5000/a/b:1")),
        (f"docker-daemon:{DIGEST}", engine(DIGEST)),
        ("docker-archive:/a/b.tar", ImageLocation(transport="docker-archive", path=Path("/a/b.tar"))),
        ("rootfs:base.tar.zst", ImageLocation(transport="rootfs", path=Path("base.tar.zst"))),
        ("apt:bookworm", ImageLocation(transport="apt", name="bookworm")),
    ],
)
def test_bases_are_read(text: str, expected: ImageLocation) -> None:
    assert parse_base(text) == expected
    assert parse_base(str(expected)) == expected
    assert parse_base(f" dbimage:{text} ") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dbimage", None),
        ("dbimage:", None),
        ("DBIMAGE:", None),
        ("dbimage://acme.azurecr.io/models", registry("acme.azurecr.io", "models")),
        ("//acme.azurecr.io", registry("acme.azurecr.io")),
        ("//localhost:5000/", registry("localhost:5000")),
        ("acme.azurecr.io/models", registry("acme.azurecr.io", "models")),
        ("docker://acme/models/", registry("acme", "models")),
        ("dbimage:oci:/srv/images", layout("/srv/images")),
        ("dbimage:/srv/images", layout("/srv/images")),
        ("./images", layout("images")),
        ("dbimage:docker-daemon:", engine("")),
        ("docker-daemon:acme/", engine("acme")),
        ("docker-daemon:h.io:5000/acme", engine("h.io:5000/acme")),
        ("docker-archive:out.tar", ImageLocation(transport="docker-archive", path=Path("out.tar"))),
    ],
)
def test_targets_are_read(text: str, expected: ImageLocation | None) -> None:
    assert parse_target(text) == expected
    if expected is not None:
        assert parse_target(str(expected)) == expected


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert parse_target("dbimage:oci:~/images") == layout("/home/ann/images")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "none of the known forms"),
        ("https://acme.azurecr.io/models", "without `http:`"),
        ("s3://bucket/models", "none of the known forms"),
        ("acme.azurecr.io", "none of the known forms"),
        ("localhost:5000", "none of the known forms"),
        ("docker://acme.azurecr.io", "names no image"),
        ("docker://", "names no host"),
        ("//", "names no host"),
        ("///srv/images", "names no host"),
        ("//host:port/a", "names no host"),
        ("//acme.azurecr.io/Models", "lower-case"),
        ("//acme.azurecr.io/a//b", "lower-case"),
        ("//acme.azurecr.io/../b", "lower-case"),
        ("//acme.azurecr.io/a:b:c", "lower-case"),
        ("//acme.azurecr.io/a@sha256:12", "digest"),
        ("//acme.azurecr.io", "names no image"),
        ("//acme.azurecr.io/:tag", "no repository"),
        ("oci:", "no directory"),
        ("oci::tag", "no directory"),
        ("oci:dir:bad tag", "tag"),
        ("docker-archive:", "no file"),
        ("rootfs:", "no file"),
        ("docker-daemon:", "names no image"),
        ("docker-daemon:Upper:1", "names no image"),
        ("apt:", "suite"),
        ("apt:--hook=x", "suite"),
        ("debian:12\nRUN x", "control characters"),
    ],
)
def test_broken_bases_are_refused_with_the_known_forms(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_base(text)
    assert caught.value.code == "bad-location"
    for form in (
        "//host/path",
        "oci:DIR",
        "docker-daemon:",
        "docker-archive:FILE",
        "rootfs:FILE",
        "apt:SUITE",
    ):
        assert f"`{form}`" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("churn", "none of the known forms"),
        ("acme/models", "none of the known forms"),
        ("rootfs:a.tar", "not a destination"),
        ("apt:bookworm", "not a destination"),
        ("//acme.azurecr.io/models:1", "no tag"),
        ("oci:/srv/images:one", "no tag"),
        (f"oci:/srv/images@{DIGEST}", "no tag"),
        ("docker-daemon:acme:1", "without a tag"),
    ],
)
def test_broken_targets_are_refused_with_the_known_forms(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_target(text)
    assert "`docker-archive:FILE`" in str(caught.value.hint)
    assert "rootfs" not in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "//ann:hunter2@acme.azurecr.io/models",
        "docker://ann:hunter2@acme.azurecr.io/models",
        "https://ann:hunter2@acme.azurecr.io/models",
        "ann:hunter2@acme.azurecr.io/models",
        "//ann:slash/hunter2@acme.azurecr.io/models",
        "//ann:hunter2@sha256:x@acme.azurecr.io/models",
        "oci:hunter2@h:!",
        "docker-daemon:ann:hunter2@h",
    ],
)
@pytest.mark.parametrize("parse", [parse_base, parse_target])
def test_a_password_is_refused_and_not_told(text: str, parse: Callable[[str], ImageLocation | None]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("debian:12", "index.docker.io/library/debian:12"),
        ("oci:/home/ann/bases:one", "oci:bases:one"),
        ("rootfs:/home/ann/base.tar", "rootfs:base.tar"),
        ("docker-archive:/home/ann/x.tar", "docker-archive:x.tar"),
        ("apt:bookworm", "apt:bookworm"),
        ("docker-daemon:debian:12", "docker-daemon:debian:12"),
    ],
)
def test_the_public_name_has_no_directory_of_this_machine(text: str, public: str) -> None:
    assert parse_base(text).public_name == public


def test_the_reference_is_the_digest_else_the_tag_else_latest() -> None:
    assert parse_base(f"//h.io/a:1@{DIGEST}").reference == DIGEST
    assert parse_base("//h.io/a:1").reference == "1"
    assert parse_base("//h.io/a").reference == "latest"
    assert not parse_base("//h.io/a").has_reference


words = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?", fullmatch=True)
tags = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
digests = st.none() | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
hosts = st.builds(
    lambda name, port: f"{name}.example{port}",
    st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
    st.just("") | st.integers(1, 65535).map(":{}".format),
)
repositories = st.lists(words, min_size=1, max_size=3).map("/".join)
# Absolute: what begins with `~` is somebody's home.
parts = st.text(
    st.characters(min_codepoint=33, exclude_categories=("C", "Z"), exclude_characters="/:@\x7f"), min_size=1
)
paths = st.lists(parts, min_size=1, max_size=3).map(lambda parts: Path("/").joinpath(*parts))
files = st.builds(ImageLocation, transport=st.sampled_from(["rootfs", "docker-archive"]), path=paths)


@given(
    st.builds(registry, hosts, repositories, tags, digests)
    | st.builds(lambda path, tag, digest: layout(str(path), tag, digest), paths, tags, digests)
    | files
)
def test_every_base_is_read_back(location: ImageLocation) -> None:
    assert parse_base(str(location)) == location


@given(
    st.builds(registry, hosts, st.just("") | repositories)
    | st.builds(lambda path: layout(str(path)), paths)
    | st.builds(engine, st.just("") | repositories)
)
def test_every_target_is_read_back(location: ImageLocation) -> None:
    assert parse_target(f"dbimage:{location}") == location


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_what_is_read_stays(text: str) -> None:
    for parse in (parse_base, parse_target):
        try:
            location = parse(text)
        except UsageError:
            continue
        if location is not None:
            assert parse(str(location)) == location
