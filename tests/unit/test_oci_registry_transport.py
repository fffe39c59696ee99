"""The transport: redirects, proxies, TLS, and addresses that a registry may not send us to."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fakes.clock import FakeClock
from fakes.faulty_registry import Fault, FaultyRegistry, Reply, error, faulty_registry
from mlflow_dbimage.errors import ServiceError, UsageError
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.registry import Registry, Repository
from oci_samples import LINUX, small_image

LOGIN = ("ann", "canary-password-19ce")
PUBLIC = "93.184.216.34"


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        yield running


@pytest.fixture
def other() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
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
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep credentials and proxies of this machine out; return Docker's folder."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return tmp_path


def log_in(folder: Path, host: str) -> None:
    auth = base64.b64encode(":".join(LOGIN).encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


@pytest.mark.parametrize("realm", [None, ""])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_without_authorization(
    server: FaultyRegistry,
    other: FaultyRegistry,
    here: Repository,
    image: Image,
    surroundings: Path,
    status: int,
    realm: str | None,
) -> None:
    server.login, server.realm = LOGIN, realm
    log_in(surroundings, server.host)
    server.put(image)
    other.put(image)

    def elsewhere(true: Reply) -> Reply:
        return Reply(status=status, headers={"Location": f"{other.url}{server.asked[-1].path}?sig=canary"})

    server.faults.append(Fault(method="GET", path="blobs", times=9, alter=elsewhere))
    with here.image("v1", LINUX).layers[0].open() as blob:
        assert len(blob.read()) == image.layers[0].descriptor.size
    assert other.count("GET", "blobs") == 2
    assert [each.authorization for each in other.asked] == [None, None]
    assert all(each.query == {"sig": ["canary"]} for each in other.asked)


def test_a_redirect_within_the_registry_keeps_authorization(
    server: FaultyRegistry, here: Repository, image: Image, surroundings: Path
) -> None:
    server.login = LOGIN
    log_in(surroundings, server.host)
    server.put(image)
    near = Reply(status=307, headers={"Location": f"{server.url}/v2/team/app/manifests/v1"})
    server.faults.append(Fault(method="GET", path="manifests/old", times=9, reply=near))
    assert here.resolve("old")[0].digest == image.digest


def test_a_blob_behind_a_redirect_is_checked(
    server: FaultyRegistry, other: FaultyRegistry, here: Repository, image: Image
) -> None:
    server.put(image)
    place = f"{other.url}/anything"
    server.faults.append(
        Fault(method="GET", path="blobs", skip=1, reply=Reply(status=307, headers={"Location": place}))
    )
    size = image.layers[0].descriptor.size
    other.faults.append(Fault(method="GET", path="anything", reply=Reply(status=200, body=b"x" * size)))
    with pytest.raises(Exception, match="has the digest") as caught:
        here.image("v1", LINUX).layers[0].open().read()
    assert getattr(caught.value, "code", "") == "digest-mismatch"


def test_redirects_without_end_are_told(server: FaultyRegistry, here: Repository) -> None:
    round_and_round = Reply(status=302, headers={"Location": "/v2/team/app/tags/list"})
    server.faults.append(Fault(method="GET", path="tags", times=99, reply=round_and_round))
    with pytest.raises(ServiceError, match="redirects without end"):
        here.tags()


@pytest.mark.parametrize("place", ["file:///etc/passwd", "gopher://x/"])
def test_a_place_that_is_no_web_address_is_not_visited(
    server: FaultyRegistry, here: Repository, clock: FakeClock, place: str
) -> None:
    server.faults.append(Fault(method="GET", path="tags", reply=Reply(status=302, headers={"Location": place})))
    with pytest.raises(ServiceError, match="no web address"):
        here.tags()
    assert clock.pauses == []


@pytest.fixture
def public(
    server: FaultyRegistry, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, surroundings: Path
) -> Repository:
    """A registry with a public address, which our server plays as the proxy to it."""
    monkeypatch.setenv("http_proxy", f"http://joe:canary-proxy@{server.host}")
    log_in(surroundings, PUBLIC)
    return Repository(Registry(PUBLIC, insecure=True, clock=clock.clock), "team/app")


def test_a_proxy_of_the_environment_is_used_with_its_password(
    server: FaultyRegistry, public: Repository, image: Image
) -> None:
    public.push(image)
    assert {each.host for each in server.asked} == {PUBLIC}
    login = base64.b64encode(b"joe:canary-proxy").decode()
    assert {each.headers["proxy-authorization"] for each in server.asked} == {f"Basic {login}"}


def test_loopback_and_no_proxy_are_reached_directly(
    server: FaultyRegistry, other: FaultyRegistry, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", other.url)
    Repository(Registry(server.host, clock=clock.clock), "a").tags()
    assert (len(server.asked), len(other.asked)) == (1, 0)


def test_no_proxy_names_hosts_that_are_reached_directly(
    other: FaultyRegistry, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", other.url)
    host = "registry.invalid:1"
    assert Repository(Registry(host, insecure=True, clock=clock.clock), "a").tags() == ()
    assert [each.host for each in other.asked] == [host]
    monkeypatch.setenv("no_proxy", "registry.invalid")
    with pytest.raises(ServiceError) as caught:
        Repository(Registry(host, insecure=True, clock=clock.clock), "a").tags()
    assert caught.value.code == "registry-unreachable"
    assert len(other.asked) == 1


PRIVATE = [
    "127.0.0.1",
    "localhost",
    "[::1]",
    "169.254.169.254",
    "10.0.0.1",
    "192.168.1.1",
    "0.0.0.0",
    "2130706433",
]


@pytest.mark.parametrize("address", [*PRIVATE, "[::ffff:10.0.0.1]", "[fd00::1]"])
def test_a_public_registry_may_not_send_us_into_a_private_network(
    server: FaultyRegistry, public: Repository, address: str
) -> None:
    realm = f'Bearer realm="http://{address}/token",service="x"'
    unauthorized = error(401, "UNAUTHORIZED", "", {"WWW-Authenticate": realm})
    server.faults.append(Fault(method="GET", path="tags", times=9, reply=unauthorized))
    with pytest.raises(ServiceError, match="private address|where clouds give") as caught:
        public.tags()
    assert caught.value.code == "registry-failed"
    place = {"Location": f"http://{address}/upload?secret=1"}
    server.faults.append(Fault(method="POST", path="uploads", times=9, reply=Reply(status=202, headers=place)))
    with pytest.raises(ServiceError, match="private address|where clouds give"):
        public.put_blob(b"{}")
    server.faults.append(Fault(method="GET", path="manifests", reply=Reply(status=307, headers=place)))
    with pytest.raises(ServiceError, match="private address|where clouds give"):
        public.resolve("v1")
    assert {each.host for each in server.asked} == {PUBLIC}


@pytest.mark.parametrize("place", ["http://[::1", "//[", "http://127.0.0.1:99999/"])
def test_what_no_url_can_be_is_told(server: FaultyRegistry, here: Repository, place: str) -> None:
    realm = {"WWW-Authenticate": f'Bearer realm="{place}",service="x"'}
    answers = [
        ("GET", "tags", error(401, "UNAUTHORIZED", "", realm)),
        ("POST", "uploads", Reply(status=202, headers={"Location": place})),
        ("GET", "manifests", Reply(status=307, headers={"Location": place})),
    ]
    for method, path, reply in answers:
        server.faults.append(Fault(method=method, path=path, times=9, reply=reply))
    for ask in (here.tags, lambda: here.put_blob(b"{}"), lambda: here.resolve("v1")):
        with pytest.raises(ServiceError, match="which is no web address") as caught:
            ask()
        assert caught.value.code == "registry-failed"


# TLS


def certificate_and_key(path: Path) -> Path:
    """Write a certificate for loopback that nobody trusts unasked, and its key, into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_and_key(tmp_path_factory.mktemp("tls") / "both.pem")


@pytest.fixture
def sealed(authority: Path) -> Iterator[FaultyRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with faulty_registry(FaultyRegistry(tls=context)) as running:
        yield running


def test_a_certificate_is_trusted_where_it_is_named(
    sealed: FaultyRegistry, authority: Path, image: Image, clock: FakeClock
) -> None:
    here = Repository(Registry(sealed.host, ca_cert=authority, clock=clock.clock), "team/app")
    assert here.push(image).uploaded == 3


def test_an_unknown_certificate_is_refused_at_once(
    sealed: FaultyRegistry, clock: FakeClock, tmp_path: Path
) -> None:
    other = certificate_and_key(tmp_path / "other.pem")
    with pytest.raises(ServiceError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        Repository(Registry(sealed.host, ca_cert=other, clock=clock.clock), "a").tags()
    assert caught.value.code == "registry-unreachable"
    assert "certificate authority" in (caught.value.hint or "")
    assert clock.pauses == []
    assert sealed.asked == []


def test_a_certificate_for_another_name_is_refused(
    sealed: FaultyRegistry, authority: Path, clock: FakeClock
) -> None:
    with pytest.raises(ServiceError, match="(?i)hostname") as caught:
        Repository(Registry(f"localhost:{sealed.port}", ca_cert=authority, clock=clock.clock), "a").tags()
    assert caught.value.code == "registry-unreachable"
    assert sealed.asked == []


def test_a_registry_that_names_itself_by_plain_http_is_reached_by_tls(
    sealed: FaultyRegistry, authority: Path, image: Image, clock: FakeClock
) -> None:
    """What stands behind a proxy that ends TLS often does."""

    def plain(true: Reply) -> Reply:
        return replace(true, headers={"Location": f"http://{sealed.host}{true.headers['Location']}"})

    sealed.faults += [Fault(method=method, path="uploads", times=9, alter=plain) for method in ("POST", "PATCH")]
    here = Repository(Registry(sealed.host, ca_cert=authority, clock=clock.clock), "team/app")
    assert here.push(image).uploaded == 3


def test_a_password_is_not_sent_to_a_token_server_without_tls(
    sealed: FaultyRegistry, other: FaultyRegistry, authority: Path, surroundings: Path, clock: FakeClock
) -> None:
    sealed.login, sealed.realm = LOGIN, f"{other.url}/token"
    log_in(surroundings, sealed.host)
    with pytest.raises(ServiceError, match="plain http"):
        Repository(Registry(sealed.host, ca_cert=authority, clock=clock.clock), "team/app").tags()
    assert other.asked == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_told(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"ca\.pem") as caught:
        Registry("registry.example", ca_cert=path)
    assert caught.value.code == "bad-value"


def test_plain_http_is_not_spoken_to_others_unasked(clock: FakeClock) -> None:
    for host, insecure, scheme in (
        ("127.0.0.1:5000", False, "http"),
        ("localhost", False, "http"),
        ("registry.example", False, "https"),
        ("registry.example", True, "http"),
        ("localhost.example:80", False, "https"),
    ):
        registry = Registry(host, insecure=insecure, clock=clock.clock)
        assert registry.transport.home.root == f"{scheme}://{host}"


def test_a_registry_that_is_down_is_named(clock: FakeClock) -> None:
    with pytest.raises(ServiceError, match=r"`127\.0\.0\.1:1` cannot be reached") as caught:
        Repository(Registry("127.0.0.1:1", clock=clock.clock), "a").tags()
    assert caught.value.code == "registry-unreachable"
    assert clock.pauses == [1.0, 3.0]


def test_an_answer_without_end_is_not_kept(server: FaultyRegistry, here: Repository) -> None:
    server.faults.append(Fault(method="GET", path="tags", reply=Reply(status=200, body=b" " * (17 << 20))))
    with pytest.raises(ServiceError, match="answers without end"):
        here.tags()


def test_an_answer_that_breaks_off_is_asked_for_again(
    server: FaultyRegistry, here: Repository, clock: FakeClock
) -> None:
    whole = b'{"tags": ["a", "b"]}'
    server.faults.append(Fault(method="GET", path="tags", times=2, reply=Reply(status=200, body=whole), say=10))
    server.faults.append(Fault(method="GET", path="tags", reply=Reply(status=200, body=whole)))
    assert here.tags() == ("a", "b")
    assert clock.pauses == [1.0, 3.0]
