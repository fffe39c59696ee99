"""The doctor: what is looked at for which settings, and what is said of it."""

from __future__ import annotations

import base64
import json
import socket

import pytest

from fakes.probes import FakeProbes
from mlflow_dbimage.backends.probes import MachineProbes
from mlflow_dbimage.doctor import findings
from mlflow_dbimage.errors import DbimageError, ServiceError
from mlflow_dbimage.image_location import parse_target
from mlflow_dbimage.settings_sources import Surroundings, load


@pytest.fixture
def settings(tmp_path):
    """Return a function that gives settings from environment variables."""

    def of(**variables):
        environment = {
            f"DBIMAGE_{name.upper()}": text
            for name, text in {"cache_dir": str(tmp_path / "cache"), **variables}.items()
        }
        places = Surroundings(environment=environment, directory=tmp_path, user_file=tmp_path / "none.toml")
        return load(surroundings=places)

    return of


def by_topic(found):
    return {each.topic: each for each in found}


def test_a_machine_that_has_everything(settings):
    probes = FakeProbes()
    found = findings(settings(target="//registry.example/models"), probes)
    assert [each.topic for each in found] == [
        "python",
        "mlflow",
        "uv",
        "disk",
        "sandbox",
        "engine",
        "registry",
        "channel",
        "index",
        "base",
    ]
    assert all(each.ok for each in found)
    assert by_topic(found)["disk"].message.startswith("50.0 GB are free")


def test_a_failure_keeps_reason_and_remedy(settings):
    failure = ServiceError("channel-failed", "no channel there", hint="ask again")
    found = by_topic(findings(settings(), FakeProbes({"channel": failure})))
    assert (found["channel"].ok, found["channel"].message, found["channel"].remedy) == (
        False,
        "no channel there",
        "ask again",
    )
    assert found["index"].ok


def test_a_failure_without_a_hint_gets_a_remedy(settings):
    failures = {
        "channel": ServiceError("channel-failed", "x"),
        "index": ServiceError("index-failed", "x"),
        "registry": ServiceError("registry-denied", "x"),
        "disk": ServiceError("disk-failed", "x"),
    }
    found = by_topic(findings(settings(target="//registry.example/m"), FakeProbes(failures)))
    assert all(found[topic].remedy for topic in failures)
    assert not any(found[topic].ok for topic in failures)


@pytest.mark.parametrize(("target", "ok"), [("", None), ("docker-daemon:", False)])
def test_an_engine_matters_where_it_is_the_destination(settings, target, ok):
    failures = {"engine": ServiceError("engine-failed", "no Docker engine answers")}
    found = by_topic(findings(settings(target=target), FakeProbes(failures)))
    assert found["engine"].ok is ok


@pytest.mark.parametrize(("bases", "ok"), [("", None), ("15.4-lts=apt:bookworm", False)])
def test_mmdebstrap_matters_where_a_base_needs_it(settings, bases, ok):
    failures = {"bootstrapper": ServiceError("program-failed", "not installed")}
    found = findings(settings(bases=bases), FakeProbes(failures))
    assert found[-1].ok is ok


def test_every_configured_place_is_asked(settings):
    probes = FakeProbes()
    findings(
        settings(
            channel_map="internal=https://h/internal",
            index_url="https://h/simple",
            extra_index_url="https://h/more",
            bases="15.4-lts=//registry.example/golden:15.4",
        ),
        probes,
    )
    asked = [(probe, str(about)) for probe, about in probes.asked]
    for expected in (
        ("channel", "conda-forge"),
        ("channel", "internal"),
        ("index", "https://h/simple"),
        ("index", "https://h/more"),
    ):
        assert expected in asked
    assert sum(1 for probe, _ in asked if probe == "base") == 1
    assert not any(probe == "registry" for probe, _ in asked)


def test_offline_asks_no_channel_and_no_index(settings):
    probes = FakeProbes()
    found = by_topic(findings(settings(offline="true"), probes))
    assert (found["channel"].ok, found["index"].ok) == (None, None)
    assert not {"channel", "index"} & {probe for probe, _ in probes.asked}


def test_little_space_is_a_problem(settings):
    found = by_topic(findings(settings(), FakeProbes(free=10**9)))["disk"]
    assert not found.ok
    assert "1.0 GB are free" in found.message


def test_this_machine_is_really_looked_at(settings, tmp_path):
    probes = MachineProbes(settings())
    assert "Python 3." in probes.python()
    assert "uv" in probes.uv()
    assert "MLflow" in probes.mlflow()
    assert probes.free_space(tmp_path / "not" / "there") > 0


def test_a_cache_folder_below_a_file_cannot_be_written(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="cannot be written to") as caught:
        MachineProbes(settings()).free_space(tmp_path / "file" / "cache")
    assert caught.value.code == "disk-failed"


def test_local_channels_are_really_looked_at(settings, tmp_path):
    channel = tmp_path / "my channel"
    (channel / "noarch").mkdir(parents=True)
    probes = MachineProbes(settings())
    with pytest.raises(ServiceError, match="has no index"):
        probes.channel(channel.as_uri())
    (channel / "noarch" / "repodata.json").write_text("{}")
    assert "answers" in probes.channel(channel.as_uri())


@pytest.mark.parametrize("probe", ["channel", "index"])
def test_what_nobody_answers_is_told_without_secrets(settings, probe):
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:s3cr3t@127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(DbimageError) as caught:
            getattr(MachineProbes(settings()), probe)(url)
    assert "127.0.0.1" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.registry
def test_a_registry_that_lets_everybody_in(settings, registry):
    probes = MachineProbes(settings())
    assert "asks for no credentials" in probes.registry(parse_target(f"//{registry.host}/models"))


@pytest.mark.registry
def test_a_registry_that_asks_for_credentials(settings, registry_with_password, registry_login, home):
    probes, location = MachineProbes(settings()), parse_target(f"//{registry_with_password.host}")
    with pytest.raises(ServiceError) as caught:
        probes.registry(location)
    assert caught.value.code == "registry-denied"
    user_and_password = base64.b64encode(":".join(registry_login).encode()).decode()
    file = home / ".docker" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"auths": {registry_with_password.host: {"auth": user_and_password}}}))
    try:
        assert "with credentials" in probes.registry(location)
    finally:
        file.unlink()


def test_a_registry_that_nobody_runs(settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        location = parse_target(f"//127.0.0.1:{taken.getsockname()[1]}/models")
        with pytest.raises(ServiceError) as caught:
            MachineProbes(settings()).registry(location)
    assert caught.value.code == "registry-unreachable"


@pytest.mark.engine
def test_an_engine_that_answers(settings, engine_found):
    assert MachineProbes(settings()).engine().startswith("Docker ")


def test_no_engine(settings, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(ServiceError, match="no Docker engine answers"):
        MachineProbes(settings()).engine()
