"""Addresses of registries, and where they may send us."""

from __future__ import annotations

import pytest

from mlflow_dbimage.oci.registry_addresses import Home, is_loopback

PUBLIC = Home.of("93.184.216.34", plain=False)
PRIVATE = Home.of("10.1.2.3:5000", plain=True)
HERE = Home.of("127.0.0.1:5000", plain=True)


@pytest.mark.parametrize(
    ("host", "root"),
    [
        ("registry.example", "https://registry.example"),
        ("registry.example:5000", "https://registry.example:5000"),
        ("index.docker.io", "https://registry-1.docker.io"),
        ("docker.io", "https://registry-1.docker.io"),
    ],
)
def test_a_registry_has_one_root(host: str, root: str) -> None:
    assert Home.of(host, plain=False).root == root


@pytest.mark.parametrize(
    ("host", "place", "url"),
    [
        ("a.example", "/v2/x", "https://a.example/v2/x"),
        ("a.example", "https://b.example/x?y=1", "https://b.example/x?y=1"),
        ("a.example", "//b.example/x", "https://b.example/x"),
        ("a.example", "http://a.example/x?y=1", "https://a.example/x?y=1"),
        ("a.example", "http://a.example:80/x", "https://a.example/x"),
        ("a.example:5000", "http://a.example:5000/x", "https://a.example:5000/x"),
        ("a.example:5000", "http://a.example:5001/x", "http://a.example:5001/x"),
        ("a.example", "http://b.example/x", "http://b.example/x"),
    ],
)
def test_places_become_urls_that_keep_tls(host: str, place: str, url: str) -> None:
    assert Home.of(host, plain=False).url(place) == url


def test_a_place_is_relative_to_what_named_it() -> None:
    assert PUBLIC.url("c?d=1", "https://93.184.216.34/a/b") == "https://93.184.216.34/a/c?d=1"


@pytest.mark.parametrize(
    ("url", "owned"),
    [
        ("https://a.example/v2/", True),
        ("https://a.example:443/v2/", True),
        ("https://A.example/v2/", True),
        ("http://a.example/v2/", False),
        ("https://a.example:444/v2/", False),
        ("https://a.example.evil.example/v2/", False),
        ("https://a.example@evil.example/v2/", False),
    ],
)
def test_only_the_registry_itself_is_told_who_asks(url: str, owned: bool) -> None:
    assert Home.of("a.example", plain=False).owns(url) is owned


@pytest.mark.parametrize(
    ("home", "url", "allowed"),
    [
        (PUBLIC, "https://8.8.8.8/", True),
        (PUBLIC, "https://93.184.216.34:444/", True),
        (PUBLIC, "https://10.0.0.1/", False),
        (PUBLIC, "https://127.0.0.1/", False),
        (PUBLIC, "https://169.254.169.254/", False),
        (PUBLIC, "https://[::ffff:169.254.169.254]/", False),
        (PUBLIC, "https://[fe80::1]/", False),
        (PRIVATE, "http://8.8.8.8/", True),
        (PRIVATE, "http://192.168.1.1/", True),
        (PRIVATE, "http://127.0.0.1/", False),
        (PRIVATE, "http://169.254.169.254/", False),
        (HERE, "http://127.0.0.1:6000/", True),
        (HERE, "http://10.0.0.1/", True),
        (HERE, "http://8.8.8.8/", True),
        (HERE, "ftp://127.0.0.1/", False),
        (HERE, "http:/x", False),
    ],
)
def test_nothing_leads_nearer_to_us_than_the_registry_is(home: Home, url: str, allowed: bool) -> None:
    assert (home.objection(url) is None) is allowed


def test_a_host_that_nobody_knows_is_not_refused_but_not_reached() -> None:
    assert PUBLIC.objection("https://nowhere.invalid/") is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("registry.localhost", True),
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("[::1]:5000", True),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("10.0.0.1", False),
        ("registry.example:5000", False),
        ("", False),
    ],
)
def test_loopback_is_known_by_its_name(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
