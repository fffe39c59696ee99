"""How registries are told who asks: passwords, tokens, and what is never shown."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.clock import FakeClock
from fakes.faulty_registry import Fault, FaultyRegistry, Reply, basic, error, faulty_registry
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.registry_auth import Challenge
from oci_samples import LINUX, small_image

LOGIN = ("ann", "canary:pass/word-7f3a")


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry(FaultyRegistry(login=LOGIN)) as running:
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def here(server: FaultyRegistry, clock: FakeClock) -> Repository:
    return Repository(Registry(server.host, clock=clock.clock), "team/app")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return small_image(tmp_path / "blobs")


@pytest.fixture(autouse=True)
def docker_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep credentials of this machine out."""
    folder = tmp_path / "docker"
    folder.mkdir()
    for name, value in {"DOCKER_CONFIG": folder, "XDG_CONFIG_HOME": folder, "XDG_RUNTIME_DIR": folder}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return folder


def keep(folder: Path, **entries: dict[str, str]) -> None:
    (folder / "config.json").write_text(json.dumps({"auths": entries}))


def written(user: str, password: str, **more: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode(), **more}


def test_a_password_is_sent_where_it_is_asked_for(
    server: FaultyRegistry, here: Repository, image: Image, docker_folder: Path
) -> None:
    keep(docker_folder, **{server.host: written(*LOGIN)})
    assert here.push(image).uploaded == 3
    assert {each.authorization for each in server.asked} == {None, basic(*LOGIN)}
    assert here.tags() == ()


def test_a_registry_that_asks_nobody_is_told_nothing(
    server: FaultyRegistry, here: Repository, image: Image, docker_folder: Path
) -> None:
    keep(docker_folder, **{server.host: written(*LOGIN)})
    server.login = None
    here.push(image)
    assert {each.authorization for each in server.asked} == {None}


def test_a_token_is_fetched_once_for_each_scope(
    server: FaultyRegistry, here: Repository, image: Image, docker_folder: Path
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    here.push(image)
    here.image(str(image.digest), LINUX)
    scopes = [each.query["scope"] for each in server.asked if each.path == "/token"]
    assert scopes == [["repository:team/app:pull,push"], ["repository:team/app:pull"]]
    asked = [each for each in server.asked if each.path == "/token"]
    assert {each.authorization for each in asked} == {basic(*LOGIN)}
    assert {tuple(each.query["service"]) for each in asked} == {("faulty",)}
    others = [each for each in server.asked if each.path != "/token" and each.authorization]
    assert all(each.authorization.startswith("Bearer ") for each in others)


def test_a_mount_asks_for_both_repositories_the_one_to_push_first(
    server: FaultyRegistry, here: Repository, image: Image, docker_folder: Path, clock: FakeClock
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    server.put(image, "a/base")
    base = Repository(Registry(server.host, clock=clock.clock), "a/base").image("v1", LINUX)
    assert here.push(base).mounted == 2
    asked = [each.query["scope"] for each in server.asked if each.path == "/token"]
    assert ["repository:team/app:pull,push", "repository:a/base:pull"] in asked


def test_a_token_server_that_refuses_the_source_does_not_stop_the_push(
    server: FaultyRegistry, here: Repository, image: Image, docker_folder: Path, clock: FakeClock
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    server.put(image, "a/base")
    base = Repository(Registry(server.host, clock=clock.clock), "a/base").image("v1", LINUX)
    here.missing([])
    here.tags()
    here.missing([image.config_descriptor])
    denied = error(403, "DENIED", "not yours")
    server.faults.append(Fault(method="GET", path="/token", times=2, reply=denied))
    pushed = here.push(base)
    assert (pushed.mounted, pushed.uploaded) == (0, 3)


def test_an_ended_token_is_fetched_again_before_it_is_used(
    server: FaultyRegistry, here: Repository, docker_folder: Path, clock: FakeClock
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    here.tags()
    clock.time += 280
    here.tags()
    assert server.count("GET", "/token") == 1
    clock.time += 15
    here.tags()
    assert server.count("GET", "/token") == 2
    assert sum(1 for each in server.asked if each.path != "/token" and each.authorization is None) == 1


def test_a_token_that_is_refused_is_fetched_again_once(
    server: FaultyRegistry, here: Repository, docker_folder: Path
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    here.tags()
    server.tokens = {token: set() for token in server.tokens}
    here.tags()
    assert server.count("GET", "/token") == 2
    server.faults.append(Fault(method="GET", path="tags", times=9, reply=error(403, "DENIED", "no")))
    with pytest.raises(ServiceError, match="refused GET"):
        here.tags()


def test_a_blob_whose_token_was_refused_midway_is_sent_again(
    server: FaultyRegistry, here: Repository, image: Image, docker_folder: Path
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="faulty"'}
    server.faults.append(Fault(method="PATCH", path="uploads", reply=error(401, "UNAUTHORIZED", "", challenge)))
    assert here.push(image).uploaded == 3


def test_a_scope_that_a_registry_wants_beyond_ours_is_asked_for_there_alone(
    server: FaultyRegistry, here: Repository, docker_folder: Path
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    challenge = {
        "WWW-Authenticate": f'Bearer realm="{server.url}/token",scope="repository:team/app:pull repository:x:pull"'
    }
    server.faults.append(Fault(method="GET", path="tags", reply=error(401, "UNAUTHORIZED", "", challenge)))
    here.tags()
    here.missing([])
    here.delete_tag("gone")
    asked = [sorted(each.query["scope"]) for each in server.asked if each.path == "/token"]
    assert asked == [["repository:team/app:pull", "repository:x:pull"], ["repository:team/app:delete"]]


def test_an_identity_token_is_given_in_a_form(
    server: FaultyRegistry, here: Repository, image: Image, docker_folder: Path
) -> None:
    server.realm, server.login, server.refresh_token = "", None, "canary-identity"
    keep(docker_folder, **{server.host: written("00000000", "", identitytoken="canary-identity")})
    here.push(image)
    (form,) = (each.body.decode() for each in server.asked if each.method == "POST" and each.path == "/token")
    assert "grant_type=refresh_token" in form
    assert "scope=repository%3Ateam%2Fapp%3Apull%2Cpush" in form
    assert not any("canary-identity" in str(each.query) for each in server.asked)


def test_podmans_credentials_of_a_part_are_used_for_it(
    server: FaultyRegistry, clock: FakeClock, docker_folder: Path
) -> None:
    keep(docker_folder, **{f"{server.host}/team": written(*LOGIN), server.host: written("ann", "wrong")})
    registry = Registry(server.host, clock=clock.clock)
    Repository(registry, "team/app").tags()
    with pytest.raises(ServiceError):
        Repository(registry, "others").tags()


def test_tokens_come_from_a_busy_server_in_the_end(
    server: FaultyRegistry, here: Repository, docker_folder: Path, clock: FakeClock
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    busy = Reply(status=503, headers={"Retry-After": "5"})
    server.faults += [Fault(method="GET", path="/token", reply=busy), Fault(method="GET", path="/token", say=0)]
    here.tags()
    assert clock.pauses[0] == 5.0
    assert len(clock.pauses) == 2


@pytest.mark.parametrize(
    "said", [b"", b"<html>", b"[]", b"{}", b'{"token": ""}', b'{"token": "a\\r\\nX: b"}', b'{"token": "a b"}']
)
def test_a_token_that_is_none_is_told(
    server: FaultyRegistry, here: Repository, docker_folder: Path, said: bytes
) -> None:
    server.realm = ""
    keep(docker_folder, **{server.host: written(*LOGIN)})
    server.faults.append(Fault(method="GET", path="/token", reply=Reply(status=200, body=said)))
    with pytest.raises(ServiceError, match="gave no token") as caught:
        here.tags()
    assert caught.value.code == "registry-failed"


@pytest.mark.parametrize("seconds", ["soon", [], None, 0])
def test_how_long_a_token_lasts_may_be_unknown(
    server: FaultyRegistry, here: Repository, docker_folder: Path, seconds: object
) -> None:
    server.realm = ""
    server.tokens["given"] = {"repository:team/app:pull"}
    said = json.dumps({"access_token": "given", "expires_in": seconds}).encode()
    server.faults.append(Fault(method="GET", path="/token", reply=Reply(status=200, body=said)))
    if isinstance(seconds, (str, list)) and seconds:
        with pytest.raises(ServiceError, match="gave no token"):
            here.tags()
    else:
        here.tags()
        here.tags()
        assert server.count("GET", "/token") == 1


@pytest.mark.parametrize("kept", ["wrong", "nothing"])
@pytest.mark.parametrize("realm", [None, ""])
def test_who_is_refused_is_told_where_credentials_come_from(
    server: FaultyRegistry, here: Repository, docker_folder: Path, kept: str, realm: str | None
) -> None:
    server.realm = realm
    if kept == "wrong":
        keep(docker_folder, **{server.host: written("ann", "canary-wrong")})
    with pytest.raises(ServiceError) as caught:
        here.tags()
    assert caught.value.code == "registry-denied"
    wanted = str(docker_folder / "config.json") if kept == "wrong" else "no credentials for it were found"
    assert wanted in (caught.value.hint or "")


def test_who_is_refused_for_want_of_a_helper_is_told(
    server: FaultyRegistry, here: Repository, docker_folder: Path
) -> None:
    (docker_folder / "config.json").write_text(json.dumps({"credsStore": "nowhere"}))
    with pytest.raises(ServiceError) as caught:
        here.tags()
    assert "`docker-credential-nowhere` is not installed" in (caught.value.hint or "")


def test_no_secret_is_ever_told(
    server: FaultyRegistry,
    here: Repository,
    image: Image,
    docker_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The token server repeats what it was sent, the registry names its token, and both fail."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    server.realm = ""
    keep(docker_folder, **{server.host: written("ann", "canary-wrong")})
    with pytest.raises(ServiceError) as caught:
        here.push(image)
    told += traceback.format_exception(caught.value)

    keep(docker_folder, **{server.host: written(*LOGIN)})
    again = Repository(Registry(server.host, clock=FakeClock().clock), "team/app")
    again.tags()
    (token,) = server.tokens
    message = f"bad token {token} of {LOGIN[1]} {basic(*LOGIN)} at https://{LOGIN[1]}@x/?sig={token}\x1b[2J"
    server.faults.append(Fault(method="GET", path="tags", times=9, reply=error(400, "NO", message)))
    with pytest.raises(ServiceError, match="NO: bad token") as caught:
        again.tags()
    told += [*traceback.format_exception(caught.value), repr(caught.value), caplog.text]
    everything = "\n".join(told)
    for secret in ("canary", LOGIN[1], token, basic(*LOGIN)[6:], "\x1b"):
        assert secret not in everything


# Challenges


def test_the_token_is_preferred_to_the_password() -> None:
    found = Challenge.parse('Basic realm="a, b", Bearer realm="https://t/x?y=1",service=s , scope="a:b:c d:e:f"')
    assert found is not None
    assert found.scheme == "bearer"
    assert found.parameters == {"realm": "https://t/x?y=1", "service": "s", "scope": "a:b:c d:e:f"}


@pytest.mark.parametrize("header", ["", "Negotiate", "Digest realm=x", "=", 'realm="x"', "Negotiate abc=="])
def test_what_is_not_known_is_no_challenge(header: str) -> None:
    assert Challenge.parse(header) is None


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20)


@given(parameters=st.dictionaries(NAMES, VALUES, max_size=5), other=st.booleans(), spaces=st.booleans())
def test_parameters_are_read_as_they_were_written(parameters: dict[str, str], other: bool, spaces: bool) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    comma = " , " if spaces else ","
    header = "Bearer " + comma.join(f"{name}={quoted(value)}" for name, value in parameters.items())
    if other:
        header += ', Basic realm="other"' if parameters else ""
    found = Challenge.parse(header)
    assert found is not None
    assert (found.scheme, found.parameters) == ("bearer", parameters)


@given(st.text(max_size=60))
def test_no_header_breaks_the_reader(header: str) -> None:
    found = Challenge.parse(header)
    assert found is None or found.scheme in ("basic", "bearer")
