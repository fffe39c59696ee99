"""Credentials: every place they may be in, in order, and none of them shown."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from mlflow_dbimage.oci.credentials import Credentials, Helpers, find_credentials

HOST = "registry.example.com:5000"
CANARY = "canary-secret-51d0"


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables that lead to no file of this machine, and a folder for helpers on the path."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return {
        "HOME": str(tmp_path / "home"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path / "runtime"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def auth(user: str, password: str = CANARY) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def keep(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def docker_config(surroundings: dict[str, str], document: object) -> None:
    keep(Path(surroundings["DOCKER_CONFIG"]) / "config.json", document)


def helper(tmp_path: Path, name: str, script: str) -> Path:
    """A credential helper that is a real program; it writes down what it is asked."""
    path = tmp_path / "bin" / f"docker-credential-{name}"
    asked = tmp_path / f"asked-{name}"
    path.write_text(f'#!/bin/sh\nhost=$(cat)\necho "$1 $host" >> "{asked}"\n{script}\n')
    path.chmod(0o755)
    return asked


def user(surroundings: dict[str, str], host: str = HOST, repository: str = "") -> str | None:
    found = find_credentials(host, repository, surroundings)
    return None if found is None else found.username


def test_there_may_be_none(surroundings: dict[str, str]) -> None:
    assert find_credentials(HOST, "a/b", surroundings) is None


def test_places_are_asked_in_their_order(surroundings: dict[str, str], tmp_path: Path) -> None:
    """Each place is taken away in turn, and the next one answers."""
    named = keep(tmp_path / "named.json", {"auths": {HOST: auth("named")}})
    docker_config(surroundings, {"auths": {HOST: auth("docker")}})
    running = keep(tmp_path / "runtime/containers/auth.json", {"auths": {HOST: auth("running")}})
    keep(tmp_path / "config/containers/auth.json", {"auths": {HOST: auth("configured")}})
    surroundings |= {
        "DBIMAGE_REGISTRY_USERNAME": "given",
        "DBIMAGE_REGISTRY_PASSWORD": CANARY,
        "DBIMAGE_REGISTRY_HOST": HOST,
        "REGISTRY_AUTH_FILE": str(named),
    }
    assert user(surroundings) == "given"
    del surroundings["DBIMAGE_REGISTRY_PASSWORD"]
    assert user(surroundings) == "named"
    del surroundings["REGISTRY_AUTH_FILE"]
    assert user(surroundings) == "docker"
    (tmp_path / "docker/config.json").unlink()
    assert user(surroundings) == "running"
    running.unlink()
    assert user(surroundings) == "configured"


def test_the_home_directory_has_the_usual_places(surroundings: dict[str, str], tmp_path: Path) -> None:
    del surroundings["DOCKER_CONFIG"], surroundings["XDG_RUNTIME_DIR"], surroundings["XDG_CONFIG_HOME"]
    keep(tmp_path / "home/.config/containers/auth.json", {"auths": {HOST: auth("podman")}})
    assert user(surroundings) == "podman"
    keep(tmp_path / "home/.docker/config.json", {"auths": {HOST: auth("docker")}})
    assert user(surroundings) == "docker"


@pytest.mark.parametrize("meant", [None, "other.example.com", "registry.example.com"])
def test_a_password_in_variables_goes_to_its_own_registry_alone(
    surroundings: dict[str, str], meant: str | None
) -> None:
    surroundings |= {"DBIMAGE_REGISTRY_USERNAME": "given", "DBIMAGE_REGISTRY_PASSWORD": CANARY}
    if meant is not None:
        surroundings["DBIMAGE_REGISTRY_HOST"] = meant
    assert user(surroundings) is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io"])
@pytest.mark.parametrize("host", ["index.docker.io", "docker.io", "registry-1.docker.io"])
def test_docker_hub_goes_by_several_names(surroundings: dict[str, str], host: str, key: str) -> None:
    docker_config(surroundings, {"auths": {key: auth("hub")}})
    assert user(surroundings, host) == "hub"
    assert user(surroundings, "docker.io.example.com") is None


def test_docker_hub_may_be_meant_by_variables(surroundings: dict[str, str]) -> None:
    surroundings |= {
        "DBIMAGE_REGISTRY_USERNAME": "given",
        "DBIMAGE_REGISTRY_PASSWORD": CANARY,
        "DBIMAGE_REGISTRY_HOST": "docker.io",
    }
    assert user(surroundings, "index.docker.io") == "given"


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/"])
def test_keys_may_be_urls(surroundings: dict[str, str], key: str) -> None:
    docker_config(surroundings, {"auths": {key: auth("ann")}})
    assert user(surroundings) == "ann"
    assert user(surroundings, "registry.example.com") is None


def test_podmans_most_particular_key_wins(surroundings: dict[str, str]) -> None:
    entries = {HOST: auth("all"), f"{HOST}/team": auth("team"), f"{HOST}/team/app": auth("app")}
    docker_config(surroundings, {"auths": entries})
    assert user(surroundings, repository="team/app") == "app"
    assert user(surroundings, repository="team/app/sub") == "app"
    assert user(surroundings, repository="team/other") == "team"
    assert user(surroundings, repository="teams") == "all"
    assert user(surroundings) == "all"


def test_user_and_password_may_stand_in_the_clear(surroundings: dict[str, str]) -> None:
    docker_config(surroundings, {"auths": {HOST: {"username": "ann", "password": "p:w"}}})
    found = find_credentials(HOST, "", surroundings)
    assert found is not None
    assert found.basic == "Basic " + base64.b64encode(b"ann:p:w").decode()


def test_a_password_may_hold_colons_and_not_ascii(surroundings: dict[str, str]) -> None:
    docker_config(surroundings, {"auths": {HOST: auth("ann", "a:b:ß")}})
    found = find_credentials(HOST, "", surroundings)
    assert found is not None
    assert (found.username, found.password) == ("ann", "a:b:ß")


def test_an_identity_token_stands_beside_an_empty_password(surroundings: dict[str, str]) -> None:
    entry = {**auth("00000000-0000-0000-0000-000000000000", ""), "identitytoken": CANARY}
    docker_config(surroundings, {"auths": {HOST: entry}})
    found = find_credentials(HOST, "", surroundings)
    assert found is not None
    assert (found.password, found.identity_token) == ("", CANARY)


def test_a_hosts_helper_comes_before_the_store_and_the_store_before_entries(
    surroundings: dict[str, str], tmp_path: Path
) -> None:
    asked = helper(tmp_path, "own", f"""echo '{{"Username": "helped", "Secret": "{CANARY}"}}'""")
    helper(tmp_path, "store", f"""echo '{{"Username": "stored", "Secret": "{CANARY}"}}'""")
    document: dict[str, object] = {
        "credHelpers": {HOST: "own"},
        "credsStore": "store",
        "auths": {HOST: auth("written")},
    }
    docker_config(surroundings, document)
    assert user(surroundings) == "helped"
    assert asked.read_text() == f"get {HOST}\n"
    del document["credHelpers"]
    docker_config(surroundings, document)
    assert user(surroundings) == "stored"
    del document["credsStore"]
    docker_config(surroundings, document)
    assert user(surroundings) == "written"


def test_a_store_that_has_none_leaves_it_to_what_is_written(surroundings: dict[str, str], tmp_path: Path) -> None:
    asked = helper(tmp_path, "store", 'echo "credentials not found in native keychain"; exit 1')
    docker_config(surroundings, {"credsStore": "store", "auths": {HOST: auth("written")}})
    assert user(surroundings) == "written"
    assert f"get {HOST}\n" in asked.read_text()


def test_docker_hub_is_asked_for_by_the_url_that_docker_login_used(
    surroundings: dict[str, str], tmp_path: Path
) -> None:
    answer = (
        f"""[ "$host" = "https://index.docker.io/v1/" ] && echo '{{"Username": "hub", "Secret": "{CANARY}"}}'"""
    )
    helper(tmp_path, "store", answer)
    docker_config(surroundings, {"credsStore": "store"})
    assert user(surroundings, "index.docker.io") == "hub"


def test_a_helper_may_give_an_identity_token(surroundings: dict[str, str], tmp_path: Path) -> None:
    helper(tmp_path, "x", f"""echo '{{"Username": "<token>", "Secret": "{CANARY}"}}'""")
    docker_config(surroundings, {"credHelpers": {HOST: "x"}})
    found = find_credentials(HOST, "", surroundings)
    assert found is not None
    assert (found.username, found.password, found.identity_token) == ("", "", CANARY)
    assert found.origin == "docker-credential-x"


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "echo no JSON",
        "echo '[]'",
        "echo '{}'",
        """echo '{"Username": "", "Secret": ""}'""",
        """echo '{"Username": 1, "Secret": ["s"]}'""",
        r"printf '\377\376'",
    ],
)
def test_a_helper_that_fails_or_babbles_has_none(
    surroundings: dict[str, str], tmp_path: Path, script: str
) -> None:
    helper(tmp_path, "x", script)
    docker_config(surroundings, {"credHelpers": {HOST: "x"}})
    assert user(surroundings) is None


def test_a_helper_that_is_not_installed_has_none(surroundings: dict[str, str]) -> None:
    docker_config(surroundings, {"credHelpers": {HOST: "nowhere"}})
    assert user(surroundings) is None


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        {"auths": [HOST], "credHelpers": [HOST]},
        {"auths": {HOST: None}},
        {"auths": {HOST: {}}},
        {"auths": {HOST: {"auth": "no base64!"}}},
        {"auths": {HOST: {"auth": "ß"}}},
        {"auths": {HOST: {"auth": 7}}},
        {"auths": {HOST: {"auth": "/////w=="}}},
        {"auths": {HOST: {"auth": base64.b64encode(b"only-a-user").decode()}}},
        {"credHelpers": {HOST: None}},
        {"credsStore": 7},
    ],
)
def test_a_file_that_cannot_be_understood_does_not_hide_the_next(
    surroundings: dict[str, str], tmp_path: Path, document: object
) -> None:
    docker_config(surroundings, document)
    assert user(surroundings) is None
    keep(tmp_path / "config/containers/auth.json", {"auths": {HOST: auth("next")}})
    assert user(surroundings) == "next"


def test_a_broken_entry_does_not_hide_a_less_particular_one(surroundings: dict[str, str]) -> None:
    docker_config(surroundings, {"auths": {f"{HOST}/team": {"auth": "!"}, HOST: auth("all")}})
    assert user(surroundings, repository="team/app") == "all"


def test_a_helper_is_asked_once_for_all_repositories(surroundings: dict[str, str], tmp_path: Path) -> None:
    asked = helper(tmp_path, "x", f"""echo '{{"Username": "ann", "Secret": "{CANARY}"}}'""")
    docker_config(surroundings, {"credsStore": "x"})
    helpers = Helpers()
    for repository in ("a", "b/c"):
        found = find_credentials(HOST, repository, surroundings, helpers)
        assert found is not None
    assert asked.read_text() == f"get {HOST}\n"


def test_a_helper_for_the_host_that_has_none_leaves_it_to_what_is_written(
    surroundings: dict[str, str], tmp_path: Path
) -> None:
    helper(tmp_path, "own", 'echo "credentials not found in native keychain"; exit 1')
    docker_config(surroundings, {"credHelpers": {HOST: "own"}, "auths": {HOST: auth("written")}})
    assert user(surroundings) == "written"


@pytest.mark.parametrize(
    ("script", "remark"),
    [
        (None, "`docker-credential-x` is not installed"),
        (f"echo {CANARY}; echo {CANARY} >&2; exit 1", "`docker-credential-x` failed"),
        ("sleep 20", "`docker-credential-x` gave no answer within 30 seconds"),
        (f"echo {CANARY}", "`docker-credential-x` gives no answer that can be understood"),
        ('echo "credentials not found in native keychain"; exit 1', None),
    ],
)
def test_what_a_helper_does_wrong_is_told_without_its_words(
    surroundings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    remark: str | None,
) -> None:
    if script is not None:
        helper(tmp_path, "x", script.replace("sleep", "exec sleep"))
    if script == "sleep 20":
        monkeypatch.setattr("mlflow_dbimage.oci.credentials._HELPER_SECONDS", 0.3)
    docker_config(surroundings, {"credHelpers": {HOST: "x"}})
    remarks: list[str] = []
    assert find_credentials(HOST, "", surroundings, Helpers(remarks.append)) is None
    assert remarks == ([] if remark is None else [remark])


def test_a_file_that_cannot_be_read_is_told(surroundings: dict[str, str]) -> None:
    docker_config(surroundings, "{")
    remarks: list[str] = []
    find_credentials(HOST, "", surroundings, Helpers(remarks.append))
    assert remarks == [f"`{surroundings['DOCKER_CONFIG']}/config.json` cannot be read"]


def test_a_password_for_no_registry_is_told(surroundings: dict[str, str]) -> None:
    surroundings |= {"DBIMAGE_REGISTRY_USERNAME": "given", "DBIMAGE_REGISTRY_PASSWORD": CANARY}
    remarks: list[str] = []
    find_credentials(HOST, "", surroundings, Helpers(remarks.append))
    assert len(remarks) == 1
    assert "DBIMAGE_REGISTRY_HOST" in remarks[0]


@pytest.mark.parametrize("name", ["../x", "x/../../bin/sh", "", "a b", "x;y"])
def test_a_helper_is_a_name_not_a_path(surroundings: dict[str, str], name: str) -> None:
    docker_config(surroundings, {"credHelpers": {HOST: name}})
    assert user(surroundings) is None


def test_nothing_shows_a_secret() -> None:
    secret = Credentials(username="ann", password=CANARY, identity_token=CANARY, origin="a file")
    assert CANARY not in f"{secret!r} {secret} {[secret]}"
    assert "ann" in repr(secret)
