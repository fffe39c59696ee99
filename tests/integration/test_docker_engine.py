"""The Docker engine, a real one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.docker_engine import DockerEngine, EngineRunner
from mlflow_dbimage.errors import InputError, ServiceError, VerificationError
from mlflow_dbimage.image_run import ScoreRequest, run
from mlflow_dbimage.oci.docker_archive import read_archive
from score_images import HEAD, score_image
from services.docker_engine import docker_engine

pytestmark = [
    pytest.mark.engine,
    # The Docker SDK leaves sockets of streams to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DONE = 'echo "read 1 rows, scored 1, rejected 0, in 0.1 s" >&2\n'


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running.host


@pytest.fixture
def engine(host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    monkeypatch.setenv("DOCKER_HOST", host)
    found = DockerEngine.find()
    assert found is not None
    yield found
    found.close()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows: 1, and more.csv"
    path.write_text("a\n1\n2\n")
    path.chmod(0o644)
    return path


def test_no_engine_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert DockerEngine.find() is None


def test_dockers_current_context_names_the_engine(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    meta = tmp_path / "contexts" / "meta" / "abc" / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "lab", "Endpoints": {"docker": {"Host": host}}}))
    (tmp_path / "config.json").write_text('{"currentContext": "lab"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    found = DockerEngine.find()
    assert found is not None
    assert found.is_local
    assert found.info().storage_driver
    found.close()


def test_an_image_is_loaded_listed_named_saved_and_removed(engine: DockerEngine, tmp_path: Path):
    image = score_image(tmp_path / "blobs", files={"opt/one": b"1"})
    engine.load(image, ("churn:v1-abc",))
    engine.tag("churn:v1-abc", "localhost:5000/a/churn:latest")
    (listed,) = [each for each in engine.images(label="dev.dbimage.record") if "churn:v1-abc" in each.names]
    assert listed.identifier == str(image.config_descriptor.digest)
    assert set(listed.names) == {"churn:v1-abc", "localhost:5000/a/churn:latest"}
    assert listed.labels == dict(image.labels)
    engine.save("churn:v1-abc", tmp_path / "saved.tar")
    saved = read_archive(tmp_path / "saved.tar", tmp_path)
    assert saved.config == image.config
    engine.untag("churn:v1-abc")
    assert engine.has(image)
    engine.untag("localhost:5000/a/churn:latest")
    engine.untag("localhost:5000/a/churn:latest")
    assert not engine.has(image)


def test_layers_that_the_engine_has_are_not_sent(engine: DockerEngine, tmp_path: Path):
    first = score_image(tmp_path / "a", files={"opt/two": b"1"})
    second = score_image(tmp_path / "b", files={"opt/two": b"2"})
    whole = engine.load(first, ("omit:1",))
    assert whole > first.layers[0].descriptor.size
    unreadable = replace(second.layers[0], open=_never)
    sent = engine.load(replace(second, layers=(unreadable, *second.layers[1:])), ("omit:2",))
    assert sent < whole - first.layers[0].descriptor.size
    assert engine.has(second)
    engine.untag("omit:1")
    engine.untag("omit:2")


def test_a_layer_that_cannot_be_read_ends_the_load(engine: DockerEngine, tmp_path: Path):
    image = score_image(tmp_path / "blobs", files={"opt/three": b"3"})
    broken = replace(image, layers=(image.layers[0], replace(image.layers[1], open=_never)))
    with pytest.raises(InputError, match="gone"):
        engine.load(broken, ("broken:1",))
    assert not engine.has(image)


def _never():
    raise InputError("base-invalid", "the blob is gone")


def test_what_the_engine_lacks_cannot_be_saved(engine: DockerEngine, tmp_path: Path):
    with pytest.raises(InputError, match="no image `nothing:here`"):
        engine.save("nothing:here", tmp_path / "saved.tar")
    assert os.listdir(tmp_path) == []


def test_an_engine_that_went_away_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with docker_engine(tmp_path / "engine") as running:
        monkeypatch.setenv("DOCKER_HOST", running.host)
        found = DockerEngine.find()
        assert found is not None
    with pytest.raises(ServiceError, match="listing images: the Docker engine does not answer"):
        found.images(label="x")
    found.close()


def test_a_run_in_a_container(engine: DockerEngine, tmp_path: Path, rows: Path):
    request = ScoreRequest(input=rows, output=tmp_path / "scores.csv")
    done = run(score_image(tmp_path / "blobs"), request, EngineRunner(engine))
    assert (done.how, done.rows, done.scored, done.rejected) == ("engine", 2, 2, 0)
    assert request.output.read_text() == rows.read_text()
    assert request.output.stat().st_uid == os.getuid()
    assert not engine._client.containers.list(all=True)


def test_a_run_may_write_nothing_but_results_and_reach_nobody(engine: DockerEngine, tmp_path: Path, rows: Path):
    script = HEAD + (
        'id -u > "$output"\n'
        'for file in /new /opt/new "$input"; do\n'
        '    ( echo x >> "$file" ) 2> /dev/null && echo "$file" >> "$output"\n'
        "done\n"
        "echo x > /tmp/scratch || exit 9\n"
        'cat /proc/net/route >> "$output"\n'
    )
    request = ScoreRequest(input=rows, output=tmp_path / "seen")
    run(score_image(tmp_path / "blobs", script + DONE), request, EngineRunner(engine))
    user, *rest = request.output.read_text().splitlines()
    assert user == str(os.getuid() or 65534)
    assert [line.split()[0] for line in rest] == ["Iface"]


def test_the_programs_reason_is_the_error(engine: DockerEngine, tmp_path: Path, rows: Path):
    heard = []
    script = HEAD + 'echo "error: row 1: the model raised x" >&2\nexit 6\n'
    request = ScoreRequest(input=rows, output=tmp_path / "scores.csv")
    with pytest.raises(VerificationError, match=r"^row 1: the model raised x$") as caught:
        run(score_image(tmp_path / "blobs", script), request, EngineRunner(engine), heard.append)
    assert caught.value.code == "scoring-failed"
    assert heard == ["error: row 1: the model raised x"]
    assert not request.output.exists()
    assert not engine._client.containers.list(all=True)


def test_a_stopped_run_leaves_no_container(engine: DockerEngine, tmp_path: Path, rows: Path):
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    script = HEAD + "echo begun >&2\nsleep 600\n"
    request = ScoreRequest(input=rows, output=tmp_path / "scores.csv")
    with pytest.raises(KeyboardInterrupt):
        run(score_image(tmp_path / "blobs", script), request, EngineRunner(engine), stop)
    assert not engine._client.containers.list(all=True)
    assert not list(tmp_path.glob(".dbimage-run-*"))


def test_an_image_whose_program_cannot_start_is_told_of(engine: DockerEngine, tmp_path: Path, rows: Path):
    image = score_image(tmp_path / "blobs", "#!/no/such/shell\n")
    with pytest.raises((VerificationError, ServiceError), match="no such file or directory"):
        run(image, ScoreRequest(input=rows, output=tmp_path / "scores.csv"), EngineRunner(engine))


def test_folders_can_be_scored(engine: DockerEngine, tmp_path: Path):
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "part-0.csv").write_text("a\n1\n")
    script = HEAD + 'cat "$input"/part-0.csv > "$output"\n' + DONE
    request = ScoreRequest(input=parts, output=tmp_path / "scores.csv")
    run(score_image(tmp_path / "blobs", script), request, EngineRunner(engine))
    assert request.output.read_text() == "a\n1\n"
