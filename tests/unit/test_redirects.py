"""Where servers may send us, and that those who ask files of them keep to it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests

from fakes.faulty_registry import Fault, FaultyRegistry, Reply, faulty_registry
from mlflow_dbimage.backends.index_credentials import IndexCredentials
from mlflow_dbimage.backends.mlflow_redirects import checked_redirects
from mlflow_dbimage.backends.wheel_download import Downloader
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.redirects import absolute, objection

GET_REDIRECT_TARGET = requests.Session.get_redirect_target
FORBIDDEN = (
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest",
    "http://[::ffff:169.254.169.254]/",
    "http://2852039166/",
    "http://[fe80::1]/",
    "http://100.100.100.200/",
    "http://metadata.google.internal/",
    "http://METADATA.google.internal./",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "http:/x",
)
MALFORMED = ("http://[::1", "//[", "http://127.0.0.1:99999/")


@pytest.mark.parametrize("place", MALFORMED)
def test_what_no_url_can_be_is_not_visited(place: str):
    asked = "http://127.0.0.1:8000/a"
    assert objection(absolute(place, asked), asked) is not None


@pytest.mark.parametrize("url", FORBIDDEN)
@pytest.mark.parametrize("asked", ["http://127.0.0.1:8000/a", "http://10.0.0.1/a", "http://8.8.8.8/a"])
def test_where_clouds_give_credentials_and_what_is_no_web_address_is_not_visited(url: str, asked: str):
    assert objection(url, asked) is not None


@pytest.mark.parametrize(
    ("url", "asked", "allowed"),
    [
        ("http://127.0.0.1:9000/", "http://127.0.0.1:8000/", True),
        ("http://10.0.0.2/", "http://10.0.0.1/", True),
        ("https://10.0.0.2/", "https://8.8.8.8/", True),
        ("https://10.0.0.2/", "http://10.0.0.1/", True),
        ("http://10.0.0.2/", "https://10.0.0.1/", False),
        ("http://10.0.0.1/", "https://10.0.0.1/", False),
        ("http://169.254.1.1/b", "http://169.254.1.1/a", True),
        ("https://nowhere.invalid/", "https://8.8.8.8/", True),
    ],
)
def test_private_addresses_are_normal_and_less_than_tls_is_not(url: str, asked: str, allowed: bool):
    assert (objection(url, asked) is None) is allowed


def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **options: found)
    assert objection("http://innocent.example/", "http://8.8.8.8/") is not None


@pytest.fixture
def servers():
    with faulty_registry() as first, faulty_registry() as second:
        yield first, second


def _sends_to(server: FaultyRegistry, place: str) -> None:
    server.faults.append(
        Fault(method="GET", path="wheel", times=9, reply=Reply(status=302, headers={"Location": place}))
    )


@pytest.mark.parametrize("place", [*FORBIDDEN[:-1], *MALFORMED])
def test_an_index_cannot_send_us_there(servers, tmp_path: Path, place: str):
    first, _ = servers
    _sends_to(first, place)
    with pytest.raises(ServiceError, match="we are sent to") as caught:
        Downloader(IndexCredentials([])).download(f"{first.url}/wheel", None, tmp_path / "x", lambda size: None)
    assert caught.value.code == "index-failed"
    assert not list(tmp_path.iterdir())


def test_an_index_that_sends_us_round_and_round_is_told(servers, tmp_path: Path):
    first, _ = servers
    _sends_to(first, "/wheel")
    with pytest.raises(ServiceError, match="redirects without end"):
        Downloader(IndexCredentials([])).download(f"{first.url}/wheel", None, tmp_path / "x", lambda size: None)


def test_credentials_do_not_follow_an_index_elsewhere(servers, tmp_path: Path):
    first, second = servers
    _sends_to(first, f"{second.url}/file")
    second.faults.append(Fault(method="GET", path="file", reply=Reply(status=200, body=b"whole")))
    known = IndexCredentials([f"http://ann:canary@{first.host}/simple"])
    Downloader(known).download(f"{first.url}/wheel", None, tmp_path / "x", lambda size: None)
    assert (tmp_path / "x").read_bytes() == b"whole"
    assert first.asked[0].authorization is not None
    assert [each.authorization for each in second.asked] == [None]


@pytest.mark.parametrize("place", [*FORBIDDEN[:2], *MALFORMED])
def test_a_store_of_models_cannot_send_us_there(servers, place: str):
    first, second = servers
    _sends_to(first, place)
    with checked_redirects(), pytest.raises(requests.exceptions.InvalidURL, match="the store sends us to"):
        requests.get(f"{first.url}/wheel", timeout=5)
    first.faults.clear()
    _sends_to(first, f"{second.url}/v2/")
    with checked_redirects():
        assert requests.get(f"{first.url}/wheel", timeout=5).url == f"{second.url}/v2/"


def test_one_download_that_ends_leaves_another_guarded(servers):
    first, _ = servers
    _sends_to(first, FORBIDDEN[0])
    one, other = checked_redirects(), checked_redirects()
    one.__enter__()
    with other:
        one.__exit__(None, None, None)
        with pytest.raises(requests.exceptions.InvalidURL, match="the store sends us to"):
            requests.get(f"{first.url}/wheel", timeout=5)
    assert requests.Session.get_redirect_target is GET_REDIRECT_TARGET
